package main

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Processes that start at once in a fresh config directory have one CA.
func TestStartsAtOnceShareTheCA(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "config")
	addrs := make([]string, 4)
	var wg sync.WaitGroup
	for i := range addrs {
		wg.Go(func() { addrs[i], _ = startServer(t, "--config-dir", dir) })
	}
	wg.Wait()
	pem, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	for _, addr := range addrs {
		c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots})
		if err != nil {
			t.Errorf("%s: %v", addr, err)
			continue
		}
		c.Close()
	}
}
