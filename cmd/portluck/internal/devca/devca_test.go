package devca

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// shake does a handshake for name with a client that trusts the file of ca.
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

// For each fault of the files the error names the file and says what to do.
func TestUnfitFiles(t *testing.T) {
	other := t.TempDir()
	if _, err := Open(other); err != nil {
		t.Fatal(err)
	}
	const remove = "to have new ones made"
	tests := []struct {
		name, file string
		content    string // or the name of another CA's file, which ends in .pem
		mode       os.FileMode
		want       string
	}{
		{"no certificate", certFile, "no PEM", 0o644, remove},
		{"empty certificate", certFile, "", 0o644, remove},
		{"cut certificate", certFile, "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", 0o644, remove},
		{"a key as the certificate", certFile, keyFile, 0o644, remove},
		{"no key", keyFile, "no PEM", 0o600, remove},
		{"cut key", keyFile, "-----BEGIN EC PRIVATE KEY-----\nMIIB\n-----END EC PRIVATE KEY-----\n", 0o600, remove},
		{"a certificate as the key", keyFile, certFile, 0o600, remove},
		{"another CA's key", keyFile, keyFile, 0o600, remove},
		{"another CA's certificate", certFile, certFile, 0o644, remove},
		{"a key that others may read", keyFile, "", 0o644, "chmod 600"},
		{"a key that the group may read", keyFile, "", 0o640, "chmod 600"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := Open(dir); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, tt.file)
			content := []byte(tt.content)
			if strings.HasSuffix(tt.content, ".pem") {
				content, _ = os.ReadFile(filepath.Join(other, tt.content))
			}
			if tt.want == remove {
				if err := os.WriteFile(path, content, tt.mode); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			_, err := Open(dir)
			if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Open() = %v, want an error with %s and %q", err, path, tt.want)
			}
		})
	}
}

// A directory in place of a file, or a file in place of the directory, is an error even for root.
func TestUnreadableFile(t *testing.T) {
	for _, file := range []string{certFile, keyFile} {
		dir := t.TempDir()
		if _, err := Open(dir); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, file)
		if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "--config-dir") {
			t.Errorf("Open() = %v, want an error with %s and --config-dir", err, path)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "--config-dir") {
			t.Errorf("Open(%s) = %v, want an error with --config-dir", dir, err)
		}
	}
}

// A server that runs for years always has a valid certificate, even after its CA has expired.
func TestRunsForYears(t *testing.T) {
	ca, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	first := ca.cert
	start := time.Now()
	for days := 0; days < 11*365; days += 9 {
		now := start.Add(time.Duration(days) * 24 * time.Hour)
		ca.now = func() time.Time { return now }
		c, err := ca.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		pem, err := os.ReadFile(ca.File())
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		if _, err := c.Leaf.Verify(x509.VerifyOptions{DNSName: "localhost", Roots: roots, CurrentTime: now}); err != nil {
			t.Fatalf("day %d: %v", days, err)
		}
		if c.Leaf.NotAfter.After(ca.cert.NotAfter) {
			t.Fatalf("day %d: the certificate outlives its CA", days)
		}
	}
	if ca.cert.Equal(first) {
		t.Error("the CA has outlived its time")
	}
}

// The certificate is replaced if the machine has a new address.
func TestNewAddressIsCovered(t *testing.T) {
	ca, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	hello := func(ip net.IP) *tls.ClientHelloInfo {
		return &tls.ClientHelloInfo{Conn: atAddr{addr: &net.TCPAddr{IP: ip, Port: 8100}}}
	}
	for _, ip := range []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(192, 0, 2, 7), net.ParseIP("2001:db8::7")} {
		c, err := ca.GetCertificate(hello(ip))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Leaf.VerifyHostname(ip.String()); err != nil {
			t.Error(err)
		}
		again, err := ca.GetCertificate(hello(ip))
		if err != nil || again != c {
			t.Errorf("%v: made anew for the same address, %v", ip, err)
		}
	}
}

// atAddr is a connection that has only a local address.
type atAddr struct {
	net.Conn
	addr net.Addr
}

func (c atAddr) LocalAddr() net.Addr { return c.addr }
