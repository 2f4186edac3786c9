//go:build !windows

// Windows has no SIGHUP.

package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// writeCertificate writes a new certificate with this serial number, and its key, to two files.
func writeCertificate(t *testing.T, cert, key string, serial int64) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// serial returns the serial number of the server's certificate.
func serial(t *testing.T, addr string) int64 {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// SIGHUP never ends a server. The log says what it did.
func TestHangup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cert, key, 1)
	files := []string{"--cert", cert, "--key", key}
	tests := []struct {
		name  string
		flags []string
		logs  string
	}{
		{"off", []string{"--tls", "off"}, `"tls":"off"`},
		{"dev", nil, `"tls":"dev"`},
		{"files", files, `"message":"certificate reloaded"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, logs := startLogged(t, tt.flags...)
			for range 2 {
				p.hangUp(t)
				logs.wants(t, tt.logs)
			}
			if tt.name == "off" {
				return
			}
			before := serial(t, p.addr)
			if tt.name == "dev" {
				return
			}
			if err := os.WriteFile(key, []byte("nonsense"), 0o600); err != nil {
				t.Fatal(err)
			}
			p.hangUp(t)
			logs.wants(t, `"message":"certificate not reloaded"`)
			if got := serial(t, p.addr); before != 1 || got != 1 {
				t.Errorf("the certificates are %d, then %d, want the old one", before, got)
			}
			writeCertificate(t, cert, key, 2)
			p.hangUp(t)
			logs.wants(t, `"message":"certificate reloaded"`)
			if got := serial(t, p.addr); got != 2 {
				t.Errorf("the certificate is %d, want the new one", got)
			}
		})
	}
}

// A SIGHUP while the server shuts down does not end it either.
func TestHangupWhileShuttingDown(t *testing.T) {
	t.Parallel()
	p, logs := startLogged(t, "--tls", "off", "--echo")
	c, r := inFlight(t, p.addr)
	p.terminate(t)
	logs.wants(t, `"message":"shutting down"`)
	for range 3 {
		p.hangUp(t)
	}
	io.WriteString(c, "7\r\nsecond\n\r\n0\r\n\r\n")
	if rest, err := io.ReadAll(r); err != nil || !strings.Contains(string(rest), "second\n") {
		t.Errorf("the request got %q, %v", rest, err)
	}
	if code := p.exits(t, time.Minute); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

func (p *process) hangUp(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

// logLines has the lines that a server logs.
type logLines chan string

// startLogged is startProcess, and also returns the log.
func startLogged(t *testing.T, args ...string) (*process, logLines) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := startProcessTo(t, w, args...)
	w.Close()
	lines := make(logLines, 1000)
	done := make(chan struct{})
	go func() { // ends with the process
		defer close(done)
		for in := bufio.NewScanner(r); in.Scan(); {
			lines <- in.Text()
		}
	}()
	t.Cleanup(func() {
		p.Process.Kill()
		<-done
		r.Close()
	})
	return p, lines
}

// wants waits for a line that contains text.
func (l logLines) wants(t *testing.T, text string) {
	t.Helper()
	late := time.After(time.Minute)
	for {
		select {
		case line := <-l:
			if strings.Contains(line, text) {
				return
			}
		case <-late:
			t.Fatalf("%s is not logged", text)
		}
	}
}
