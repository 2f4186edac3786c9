// Command record records the transcripts of package testdata: it runs each client against a port of this machine and
// keeps what it sends first.
//
//	go run ./testdata/record [-only NAME]
//
// A client that is not installed is named, and its transcript stays as it is.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/portluck/portluck/testdata"
)

const (
	maxBytes  = 64 << 10
	clientFor = 15 * time.Second       // how long a client may take to send its first byte
	quiet     = 250 * time.Millisecond // without a byte, after which the first flight is over
)

// dir is where the transcripts are, seen from the module's root.
const dir = "testdata/transcripts"

func main() {
	only := flag.String("only", "", "record this transcript only")
	flag.Parse()
	failed := 0
	for _, c := range clients {
		if *only != "" && c.name != *only {
			continue
		}
		if err := record(c); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", c.name, err)
			failed++
		}
	}
	if failed > 0 {
		os.Exit(1)
	}
}

// record runs a client and writes its transcript.
func record(c client) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	host, port, _ := net.SplitHostPort(l.Addr().String())
	ctx, cancel := context.WithTimeout(context.Background(), clientFor)
	defer cancel()
	profile, err := os.MkdirTemp("", "record")
	if err != nil {
		return err
	}
	defer os.RemoveAll(profile)
	line := strings.NewReplacer("HOST", host, "PORT", port, "PROFILE", profile).Replace(c.command)
	cmd := exec.CommandContext(ctx, "bash", "-c", line)
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
	b, err := firstFlight(l, c.greeting)
	cancel()
	_ = cmd.Wait() // it was killed
	if err != nil {
		return err
	}
	from := strings.NewReplacer("PROFILE", "$(mktemp -d)").Replace(c.command)
	t := testdata.Transcript{
		From: from, Client: version(c.version), Class: c.class, Date: time.Now().UTC().Format(time.DateOnly), Bytes: b,
	}
	return os.WriteFile(filepath.Join(dir, c.name+".txt"), testdata.Format(t), 0o644)
}

// firstFlight reads what the first client that says something sends, until it pauses.
func firstFlight(l net.Listener, greeting string) ([]byte, error) {
	_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(clientFor))
	for {
		c, err := l.Accept()
		if err != nil {
			return nil, fmt.Errorf("the client has not connected: %w", err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, greeting); err != nil {
			return nil, err
		}
		b, err := readFlight(c)
		if err != nil || len(b) > 0 {
			return b, err
		}
	}
}

func readFlight(c net.Conn) ([]byte, error) {
	b := make([]byte, maxBytes)
	n := 0
	_ = c.SetReadDeadline(time.Now().Add(clientFor / 3))
	for n < len(b) {
		k, err := c.Read(b[n:])
		n += k
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, io.EOF):
			return b[:n], nil
		case err != nil:
			return nil, err
		}
		_ = c.SetReadDeadline(time.Now().Add(quiet))
	}
	return b, nil
}

// version is the first line that the client says of itself.
func version(command string) string {
	out, _ := exec.Command("bash", "-c", command).CombinedOutput() // some say it with an error
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}
