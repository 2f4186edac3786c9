package main

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Processes that start at once in a fresh config directory have one CA.
func TestStartsAtOnceShareTheCA(t *testing.T) {
	t.Parallel()
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

// Without --listen the next port is taken when 8100 is not free, and the notice and the addresses say which.
func TestTakenDefaultPort(t *testing.T) {
	if l, err := net.Listen("tcp", "127.0.0.1:8100"); err == nil { // or somebody else has it
		defer l.Close()
	}
	cmd := command(t, "--tls", "off")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var notices strings.Builder
	cmd.Stderr = &notices
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := newLines(out, 1000).next()
	port, ok := strings.CutPrefix(line, "listening on 127.0.0.1:")
	if err != nil || !ok || port == "8100" {
		t.Errorf("it prints %q, %v", line, err)
	}
	if c, err := net.Dial("tcp", "127.0.0.1:"+port); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	cmd.Process.Kill()
	cmd.Wait()
	if want := "portluck: port 8100 is taken, using " + port + "\n"; notices.String() != want {
		t.Errorf("the notice is %q, want %q", notices.String(), want)
	}
}
