package devca

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// shake has a client that trusts ca's file connect to name.
func shake(t *testing.T, ca *CA, name string) error {
	t.Helper()
	pem, err := os.ReadFile(ca.File())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in " + ca.File())
	}
	server, client := net.Pipe()
	defer client.Close()
	done := make(chan struct{})
	go func() { // ends with the pipe
		defer close(done)
		c := tls.Server(server, &tls.Config{GetCertificate: ca.GetCertificate})
		_ = c.Handshake()
		_, _ = io.Copy(io.Discard, c)
	}()
	err = tls.Client(client, &tls.Config{RootCAs: roots, ServerName: name}).Handshake()
	client.Close()
	<-done
	return err
}

func TestCertificatesAreTrusted(t *testing.T) {
	ca, err := Open(filepath.Join(t.TempDir(), "portluck"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
		if err := shake(t, ca, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := shake(t, ca, "example.com"); err == nil {
		t.Error("example.com is trusted")
	}
}

func TestCAIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "portluck")
	first, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !first.cert.Equal(second.cert) {
		t.Error("another CA was made")
	}
	for file, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, keyFile): 0o600} {
		fi, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := fi.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", file, got, want)
		}
	}
}

func TestLeafIsRenewed(t *testing.T) {
	ca, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	get := func(after time.Duration) *tls.Certificate {
		ca.now = func() time.Time { return time.Now().Add(after) }
		c, err := ca.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := get(0)
	if got := get(9 * 24 * time.Hour); got != first {
		t.Error("renewed after 9 days of 14")
	}
	second := get(10 * 24 * time.Hour)
	if second == first {
		t.Error("not renewed after 10 days of 14")
	}
	if got := second.Leaf.NotAfter.Sub(second.Leaf.NotBefore); got > leafTime+2*time.Hour {
		t.Errorf("valid for %v", got)
	}
}

func TestBrokenFileIsNamed(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, certFile), []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("a broken file is accepted")
	}
}
