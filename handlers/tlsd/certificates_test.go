package tlsd

import (
	"bytes"
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pair is a certificate and a key in two files.
type pair struct {
	tb        testing.TB
	cert, key string
	version   time.Time
}

func newPair(tb testing.TB) *pair {
	tb.Helper()
	dir := tb.TempDir()
	p := &pair{tb: tb, cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), version: time.Unix(1e9, 0)}
	p.write(newPEM(tb, "first.test"))
	return p
}

// write replaces the files; nil leaves one as it is. Each version has another modification time.
func (p *pair) write(cert, key []byte) {
	p.tb.Helper()
	p.version = p.version.Add(time.Millisecond)
	for path, data := range map[string][]byte{p.cert: cert, p.key: key} {
		if data == nil {
			continue
		}
		writeFile(p.tb, path, data)
		if err := os.Chtimes(path, p.version, p.version); err != nil {
			p.tb.Fatal(err)
		}
	}
}

// check fails unless a handshake gets the certificate of name.
func check(tb testing.TB, c *Certificates, name string) {
	tb.Helper()
	cert, err := c.GetCertificate(nil)
	if err != nil {
		tb.Fatal(err)
	}
	if got := cert.Leaf.DNSNames[0]; got != name {
		tb.Errorf("GetCertificate() is for %q, want %q", got, name)
	}
}

func load(tb testing.TB, p *pair) (*Certificates, *[]error) {
	tb.Helper()
	c, err := LoadFiles(p.cert, p.key)
	if err != nil {
		tb.Fatal(err)
	}
	var told []error
	c.OnError = func(err error) { told = append(told, err) }
	return c, &told
}

func TestCertificatesFollowTheFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := newPair(t)
		c, told := load(t, files)
		check(t, c, "first.test")
		files.write(newPEM(t, "second.test"))
		check(t, c, "first.test") // it has looked a moment ago
		time.Sleep(recheck)
		check(t, c, "second.test")
		if len(*told) > 0 {
			t.Errorf("OnError(%v), want no call", *told)
		}
	})
}

func TestCertificatesKeepTheOldPair(t *testing.T) {
	cert, key := newPEM(t, "second.test")
	for _, test := range []struct {
		name  string
		spoil func(files *pair)
	}{
		{"broken certificate", func(files *pair) { files.write([]byte("oops"), nil) }},
		{"broken key", func(files *pair) { files.write(nil, []byte("oops")) }},
		{"half way through", func(files *pair) { files.write(cert, nil) }},
		{"empty", func(files *pair) { files.write([]byte{}, []byte{}) }},
		{"no certificate", func(files *pair) { os.Remove(files.cert) }},
		{"no key", func(files *pair) { os.Remove(files.key) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				files := newPair(t)
				c, told := load(t, files)
				test.spoil(files)
				for range 5 {
					time.Sleep(recheck)
					check(t, c, "first.test")
				}
				if len(*told) != 1 {
					t.Errorf("OnError was called %d times, want once: %v", len(*told), *told)
				}
				if err := c.Reload(); err == nil {
					t.Error("Reload() = nil, want an error")
				}
				check(t, c, "first.test")
				files.write(cert, key)
				time.Sleep(recheck)
				check(t, c, "second.test")
			})
		})
	}
}

// OnError may be nil. A new error is reported even after another one.
func TestCertificatesOnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := newPair(t)
		c, told := load(t, files)
		for range 2 {
			files.write([]byte("oops"), nil)
			time.Sleep(recheck)
			check(t, c, "first.test")
			os.Remove(files.key)
			time.Sleep(recheck)
			check(t, c, "first.test")
			c.OnError = nil
			files.write(newPEM(t, "first.test"))
			time.Sleep(recheck)
			check(t, c, "first.test")
		}
		if len(*told) != 2 {
			t.Errorf("OnError was called with %v, want two errors", *told)
		}
	})
}

// A new pair of the same size and time is noticed, whether it was written over the old one, moved
// there, or is the new target of a link.
func TestCertificatesSameSizeAndTime(t *testing.T) {
	long := time.Unix(1e9, 0)
	put := func(t *testing.T, path string, data []byte) {
		t.Helper()
		writeFile(t, path, data)
		if err := os.Chtimes(path, long, long); err != nil {
			t.Fatal(err)
		}
	}
	old, oldKey := newPEM(t, "first.test")
	cert, key := newPEM(t, "other.test")
	size := max(len(old), len(cert)) + 1
	pad := func(pem []byte) []byte { return append(bytes.Clone(pem), bytes.Repeat([]byte("\n"), size-len(pem))...) }
	for name, replace := range map[string]func(t *testing.T, files *pair){
		"written over": func(t *testing.T, files *pair) {
			put(t, files.cert, pad(cert))
			put(t, files.key, pad(key))
		},
		"moved there": func(t *testing.T, files *pair) {
			put(t, files.cert+".new", pad(cert))
			put(t, files.key+".new", pad(key))
			if err := errors.Join(os.Rename(files.cert+".new", files.cert), os.Rename(files.key+".new", files.key)); err != nil {
				t.Fatal(err)
			}
		},
		"behind a link": func(t *testing.T, files *pair) {
			put(t, files.cert+".new", pad(cert))
			put(t, files.key+".new", pad(key))
			err := errors.Join(os.Remove(files.cert), os.Remove(files.key))
			if err := errors.Join(err, os.Symlink(files.cert+".new", files.cert), os.Symlink(files.key+".new", files.key)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				files := newPair(t)
				put(t, files.cert, pad(old))
				put(t, files.key, pad(oldKey))
				c, told := load(t, files)
				check(t, c, "first.test")
				replace(t, files)
				time.Sleep(recheck)
				check(t, c, "other.test")
				if len(*told) > 0 {
					t.Errorf("OnError(%v)", *told)
				}
			})
		})
	}
}

func TestCertificatesReload(t *testing.T) {
	files := newPair(t)
	c, _ := load(t, files)
	files.write(newPEM(t, "second.test"))
	if err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	check(t, c, "second.test")
}

func TestLoadFilesNeedsAPair(t *testing.T) {
	files := newPair(t)
	for _, test := range []struct{ name, cert, key string }{
		{"no certificate", files.cert + "x", files.key},
		{"no key", files.cert, files.key + "x"},
		{"swapped", files.key, files.cert},
	} {
		if c, err := LoadFiles(test.cert, test.key); c != nil || err == nil {
			t.Errorf("%s: LoadFiles() = %v, %v, want nil and an error", test.name, c, err)
		}
	}
}

func TestCertificatesConcurrently(t *testing.T) {
	files := newPair(t)
	c, _ := load(t, files)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 50 {
				c.next.Store(0) // look at once
				if cert, err := c.GetCertificate(nil); cert == nil || err != nil {
					t.Errorf("GetCertificate() = %v, %v", cert, err)
				}
				if i == 0 {
					if err := c.Reload(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
}

// A handshake after the files were replaced gets the new certificate.
func TestHandshakeWithReloadedCertificate(t *testing.T) {
	files := newPair(t)
	c, _ := load(t, files)
	h := &Handler{Config: &tls.Config{GetCertificate: c.GetCertificate}}
	for _, want := range []string{"first.test", "second.test"} {
		client, _, p := serve(t, h)
		tc := tls.Client(client, &tls.Config{InsecureSkipVerify: true})
		if err := tc.Handshake(); err != nil {
			t.Fatal(err)
		}
		<-p.routed
		if got := tc.ConnectionState().PeerCertificates[0].DNSNames[0]; got != want {
			t.Errorf("the certificate is for %q, want %q", got, want)
		}
		files.write(newPEM(t, "second.test"))
		if err := c.Reload(); err != nil {
			t.Fatal(err)
		}
	}
}
