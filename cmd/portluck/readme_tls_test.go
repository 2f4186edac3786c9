//go:build !windows

package main

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The README's program with TLS serves its page, and ends without an error.
func TestReadmeTLSProgram(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s") // no other program can have it
	program := strings.ReplaceAll(readmePrograms(t)[1], "localhost:8443", "unix:"+socket)
	dir, err := os.MkdirTemp(".", "_readme") // ./... ignores a directory with this name
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(t.TempDir(), "program")
	if out, err := exec.Command("go", "build", "-o", exe, "./"+dir).CombinedOutput(); err != nil {
		t.Fatalf("%s\n%s", program, out)
	}
	cmd := exec.Command(exe)
	cmd.Dir = t.TempDir()
	writeCertificate(t, filepath.Join(cmd.Dir, "cert.pem"), filepath.Join(cmd.Dir, "key.pem"), 1)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	browser := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	defer browser.CloseIdleConnections()
	page := func() (string, error) {
		resp, err := browser.Get("https://localhost/")
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return string(b), err
	}
	got, err := page()
	for late := time.Now().Add(time.Minute); err != nil && time.Now().Before(late); got, err = page() {
		time.Sleep(20 * time.Millisecond) // the program does not listen yet
	}
	if err != nil || got != "Hello, browser.\n" {
		t.Errorf("the page is %q, %v", got, err)
	}
	cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
