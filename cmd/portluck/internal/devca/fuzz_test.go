package devca

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// FuzzReadPEM checks that readPEM reads what writePEM has written, after any text without a block
// and before any text. Another kind of block, or a file without one, must be an error that names
// the file.
func FuzzReadPEM(f *testing.F) {
	f.Add([]byte("der"), "", "CERTIFICATE", []byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Add([]byte(nil), "of: me\n\n", "EC PRIVATE KEY", []byte("-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n"))
	ca := &CA{dir: f.TempDir(), now: time.Now}
	f.Fuzz(func(t *testing.T, der []byte, before, kind string, text []byte) {
		if err := ca.writePEM(certFile, "CERTIFICATE", der, 0o600); err != nil {
			t.Fatal(err)
		}
		whole, err := os.ReadFile(ca.File())
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(before, "-----") {
			write(t, ca.File(), append([]byte(before+"\n"), append(whole, text...)...))
			if got, err := ca.readPEM(certFile, "CERTIFICATE"); err != nil || !bytes.Equal(got, der) {
				t.Errorf("readPEM() = %q, %v, want %q", got, err, der)
			}
			if got, err := ca.readPEM(certFile, kind); kind != "CERTIFICATE" && (got != nil || err == nil) {
				t.Errorf("readPEM(%q) = %q, %v", kind, got, err)
			}
		}
		write(t, ca.File(), text)
		switch got, err := ca.readPEM(certFile, "CERTIFICATE"); {
		case err != nil:
			if want := ca.broken(ca.File()+` does not begin with a PEM block "CERTIFICATE"`, nil); got != nil || err.Error() != want.Error() {
				t.Errorf("readPEM of %q = %q, %v, want %v", text, got, err, want)
			}
		case len(got) > len(text) || !bytes.Contains(text, []byte("-----BEGIN CERTIFICATE-----")):
			t.Errorf("readPEM of %q = %q", text, got)
		}
	})
}

// FuzzLoad checks that load of any two files either gives a CA whose certificate verifies what it
// signs, or returns an error of one line and leaves the old CA as it is.
func FuzzLoad(f *testing.F) {
	whole, err := Open(filepath.Join(f.TempDir(), "whole"))
	if err != nil {
		f.Fatal(err)
	}
	cert, certErr := os.ReadFile(whole.File())
	key, keyErr := os.ReadFile(filepath.Join(whole.dir, keyFile))
	if certErr != nil || keyErr != nil {
		f.Fatal(certErr, keyErr)
	}
	f.Add(cert, key)
	f.Add(key, cert)
	f.Add(cert, []byte("-----BEGIN EC PRIVATE KEY-----\nMDECAQEEIA==\n-----END EC PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"), key)
	f.Fuzz(func(t *testing.T, cert, key []byte) {
		ca := &CA{dir: t.TempDir(), now: time.Now, cert: whole.cert, key: whole.key}
		write(t, ca.File(), cert)
		write(t, filepath.Join(ca.dir, keyFile), key)
		if err := ca.load(); err != nil {
			if ca.cert != whole.cert || ca.key != whole.key || strings.Contains(err.Error(), "\n") {
				t.Errorf("load() = %q, and the CA is another: %t", err, ca.cert != whole.cert || ca.key != whole.key)
			}
			return
		}
		leaf, err := ca.sign(nil)
		if err != nil {
			t.Fatalf("sign() = %v", err)
		}
		if err := leaf.Leaf.CheckSignatureFrom(ca.cert); err != nil {
			t.Errorf("CheckSignatureFrom() = %v", err)
		}
	})
}

func write(t testing.TB, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
