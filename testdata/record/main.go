// Command record records the transcripts of package testdata. It runs each client against a port of
// this machine and keeps the first bytes that the client sends.
//
//	go run ./testdata/record [-only NAME]
//
// It names the clients that are not installed, and leaves their transcripts as they are. If NAME is
// unknown it prints the names that are known.
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
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/portluck/portluck/testdata"
)

const (
	maxBytes  = 64 << 10
	clientFor = 15 * time.Second       // how long a client may take to send its first byte
	quiet     = 250 * time.Millisecond // without a byte: the first flight has ended
)

// dir is the directory of the transcripts, from the module's root.
const dir = "testdata/transcripts"

func main() {
	only := flag.String("only", "", "record this transcript only")
	flag.Parse()
	os.Exit(run(*only, os.Stderr))
}

// run records all transcripts, or one, and returns the exit code.
func run(only string, stderr io.Writer) int {
	chosen := clients
	if only != "" {
		i := slices.IndexFunc(clients, func(c client) bool { return c.name == only })
		if i < 0 {
			fmt.Fprintf(stderr, "no transcript %s; there are:\n", only)
			for _, c := range clients {
				fmt.Fprintln(stderr, c.name)
			}
			return 1
		}
		chosen = clients[i : i+1]
	}
	code := 0
	for _, c := range chosen {
		t, err := record(c)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, c.name+".txt"), testdata.Format(t), 0o644)
		}
		if err != nil {
			fmt.Fprintf(stderr, "%s: %v\n", c.name, err)
			code = 1
		}
	}
	return code
}

// record runs a client and returns its transcript. When it returns, every process of the client has
// been killed.
func record(c client) (testdata.Transcript, error) {
	if _, err := exec.LookPath(c.by.name); err != nil {
		return testdata.Transcript{}, fmt.Errorf("not installed: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return testdata.Transcript{}, err
	}
	defer l.Close()
	host, port, _ := net.SplitHostPort(l.Addr().String())
	profile, err := os.MkdirTemp("", "record")
	if err != nil {
		return testdata.Transcript{}, err
	}
	defer os.RemoveAll(profile)
	cmd := exec.Command("bash", "-c", strings.NewReplacer("HOST", host, "PORT", port, "PROFILE", profile).Replace(c.command))
	// A pipeline, or a browser, is more than one process.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return testdata.Transcript{}, err
	}
	b, err := firstFlight(l, c.greeting)
	// The process was not waited for yet, so no other process has its number.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	_ = cmd.Wait() // it was killed
	if err != nil {
		return testdata.Transcript{}, err
	}
	return testdata.Transcript{
		From: strings.ReplaceAll(c.command, "PROFILE", "$(mktemp -d)"), Client: version(c.by.version), Class: c.class,
		Date: time.Now().UTC().Format(time.DateOnly), Bytes: b,
	}, nil
}

// firstFlight returns what the first client that sends something sends until it pauses.
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

// version returns the first line of a client's description of itself.
func version(command string) string {
	ctx, cancel := context.WithTimeout(context.Background(), clientFor)
	defer cancel()
	// Some clients exit with an error.
	out, _ := exec.CommandContext(ctx, "bash", "-c", command).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}
