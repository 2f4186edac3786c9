//go:build !windows

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stopped returns the write end of a full pipe, and the read end, which nobody reads yet.
func stopped(t *testing.T) (w, read *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	raw, err := w.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for full := false; !full; {
		if err := raw.Write(func(fd uintptr) bool {
			_, err := syscall.Write(int(fd), make([]byte, 1)) // fills the pipe to the last byte
			full = errors.Is(err, syscall.EAGAIN)
			return true
		}); err != nil {
			t.Fatal(err)
		}
	}
	return w, r
}

// gone returns the write end of a pipe whose read end is closed.
func gone(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	t.Cleanup(func() { w.Close() })
	return w
}

// startOn starts a server on a Unix socket that logs all it can, and waits until it listens.
func startOn(t *testing.T, stdout, stderr *os.File) (p *process, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	p = &process{exited: make(chan struct{})}
	p.Cmd = command(t, "serve", "--listen", "unix:"+path, "--tls", "off", "--echo", "--log-level", "debug")
	if stdout != nil {
		p.Stdout = stdout
	}
	if stderr != nil {
		p.Stderr = stderr
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the process
		p.err = p.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.Process.Kill()
		<-p.exited
	})
	for late := time.Now().Add(time.Minute); ; {
		if c, err := net.Dial("unix", path); err == nil {
			c.Close()
			return p, path
		}
		select {
		case <-p.exited:
			t.Fatalf("it has ended: %v", p.err)
		case <-time.After(10 * time.Millisecond):
			if time.Now().After(late) {
				t.Fatal("it does not listen")
			}
		}
	}
}

// echoes connects n clients, one after another. Each sends a line and checks the echo.
func echoes(t *testing.T, path string, n int) {
	t.Helper()
	for range n {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(time.Minute))
		io.WriteString(c, "hello\n")
		if line, err := bufio.NewReader(c).ReadString('\n'); line != "hello\n" {
			t.Fatalf("the echo is %q, %v", line, err)
		}
		c.Close()
	}
}

// A server serves, and ends on a signal, even if the readers of its output stop reading or close.
func TestOutputHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	full := func(t *testing.T) *os.File { w, _ := stopped(t); return w }
	null := func(t *testing.T) *os.File { return nil }
	for _, tt := range []struct {
		name           string
		stdout, stderr func(t *testing.T) *os.File
	}{
		{"stderr stopped", null, full},
		{"stderr gone", null, gone},
		{"stdout stopped", full, null},
		{"stdout gone", gone, null},
		{"both stopped", full, full},
		{"both gone", gone, gone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, path := startOn(t, tt.stdout(t), tt.stderr(t))
			echoes(t, path, screenQueue) // each logs two lines
			p.terminate(t)
			if code := p.exits(t, time.Minute); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
		})
	}
}

// A command ends even if nobody reads its errors.
func TestErrorsHoldNobodyUp(t *testing.T) {
	t.Parallel()
	w, _ := stopped(t)
	c := command(t, "serve", "--nonsense")
	c.Stderr = w
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Wait() }()
	select {
	case <-done:
		if code := c.ProcessState.ExitCode(); code != 2 {
			t.Errorf("exit code %d, want 2", code)
		}
	case <-time.After(time.Minute):
		c.Process.Kill()
		t.Error("it does not end")
	}
}

// When the reader of the log reads again, the log says how many lines it lacks.
func TestLogTellsWhatItLacks(t *testing.T) {
	t.Parallel()
	w, r := stopped(t)
	p, path := startOn(t, nil, w)
	const clients = 2 * screenQueue
	echoes(t, path, clients)
	w.Close()
	r.SetReadDeadline(time.Now().Add(time.Minute))
	lines, dropped := 0, 0
	for in := bufio.NewReader(r); lines+dropped < 2*clients; {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatalf("%d lines, and %d reported as missing, want %d in all: %v", lines, dropped, 2*clients, err)
		}
		n := 0
		if _, at, ok := strings.Cut(line, `"lines":`); ok {
			fmt.Sscan(at, &n)
			dropped += n
		} else if strings.Contains(line, "connect") {
			lines++
		}
	}
	if dropped == 0 || lines+dropped > 2*clients {
		t.Errorf("%d lines, and %d reported as missing, want %d in all", lines, dropped, 2*clients)
	}
	p.terminate(t)
	if code := p.exits(t, time.Minute); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// A signal that is ignored at the start stays ignored.
func TestIgnoredSignals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		sig  syscall.Signal
	}{{"HUP", syscall.SIGHUP}, {"INT", syscall.SIGINT}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "s")
			own := command(t, "serve", "--listen", "unix:"+path, "--tls", "off", "--echo")
			p := &process{exited: make(chan struct{})}
			p.Cmd = command(t)
			p.Path, p.Args = "/bin/sh", append([]string{"sh", "-c", "trap '' " + tt.name + `; exec "$@"`, "sh"}, append([]string{own.Path}, own.Args[1:]...)...)
			r, err := p.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := p.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			logged := make(chan string)
			go func() { // ends with the process
				text, _ := io.ReadAll(r)
				logged <- string(text)
			}()
			if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if err := p.Process.Signal(tt.sig); err != nil {
					t.Fatal(err)
				}
			}
			echoes(t, path, 3)
			if err := p.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			text := <-logged
			if err := p.Wait(); err != nil {
				t.Errorf("it has ended with %v", err)
			}
			if !strings.Contains(text, `"signal":"terminated"`) || strings.Contains(text, "interrupt") || strings.Contains(text, "reload") {
				t.Errorf("logged: %s", text)
			}
		})
	}
}
