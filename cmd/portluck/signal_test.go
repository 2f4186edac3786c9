//go:build !windows

// Windows has no SIGTERM.

package main

import (
	"bufio"
	"io"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// terminate sends SIGTERM.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// exits waits for the process to exit, and returns its exit code.
func (p *process) exits(t *testing.T, within time.Duration) int {
	t.Helper()
	select {
	case <-p.exited:
		return p.ProcessState.ExitCode()
	case <-time.After(within):
		t.Fatalf("it is still running after %v", within)
		return 0
	}
}

// drainsIn sets drainTime in the processes that the test starts. If clients are to finish after the
// signal, d must be as long as a busy machine may take.
func drainsIn(t *testing.T, d time.Duration) {
	t.Helper()
	t.Setenv(drainVar, d.String())
}

// ownLoopback returns a loopback address on which other tests do not listen. On a shared one they
// could get the port of a server as soon as it is closed.
func ownLoopback() string {
	if runtime.GOOS == "linux" {
		return "127.0.0.2"
	}
	return "127.0.0.1"
}

// inFlight begins a request, and returns once the server has sent back its first line.
func inFlight(t *testing.T, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst\n\r\n")
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "first\n" {
			return c, r
		}
	}
}

// aWebSocket returns a WebSocket client that has got an answer.
func aWebSocket(t *testing.T, addr string) *wsPeer {
	t.Helper()
	p, err := dial(t.Context(), "ws://"+addr+"/", &trust{insecure: true, configDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.close() })
	c := p.(*wsPeer)
	c.SetDeadline(time.Now().Add(time.Minute))
	if err := c.send("hello"); err != nil {
		t.Fatal(err)
	}
	if msg, err := c.receive(); msg != "hello" || err != nil {
		t.Fatalf("receive() = %q, %v", msg, err)
	}
	return c
}

// wantGoingAway checks that the client gets a close frame with code 1001, and answers it.
func wantGoingAway(t *testing.T, c *wsPeer) {
	t.Helper()
	f, err := readFrame(c.r.Source)
	if err != nil {
		t.Fatal(err)
	}
	if code, _ := ws.ParseCloseFrameData(f.Payload); f.Header.OpCode != ws.OpClose || code != ws.StatusGoingAway {
		t.Errorf("the WebSocket got %v %q, want close 1001", f.Header.OpCode, f.Payload)
	}
	c.sendClose(ws.StatusGoingAway)
}

// On the first SIGTERM the server closes idle clients and finishes the requests that have begun.
func TestTerminateFinishesWhatHasBegun(t *testing.T) {
	drainsIn(t, time.Minute)
	p := startProcess(t, "--echo", "--listen", ownLoopback()+":0")
	socket := aWebSocket(t, p.addr)
	c, r := inFlight(t, p.addr)
	p.terminate(t)
	wantGoingAway(t, socket)
	if late, err := net.Dial("tcp", p.addr); err == nil {
		late.Close()
		t.Error("it still listens")
	}
	io.WriteString(c, "7\r\nsecond\n\r\n0\r\n\r\n")
	rest, err := io.ReadAll(r)
	if err != nil || !strings.Contains(string(rest), "second\n") || !strings.HasSuffix(string(rest), "0\r\n\r\n") {
		t.Errorf("the request got %q, %v, want its second line and its end", rest, err)
	}
	if code := p.exits(t, time.Minute); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// The second SIGTERM does not wait for anybody.
func TestTerminateTwice(t *testing.T) {
	drainsIn(t, time.Minute)
	p := startProcess(t, "--echo")
	socket := aWebSocket(t, p.addr)
	_, r := inFlight(t, p.addr)
	p.terminate(t)
	wantGoingAway(t, socket)
	select {
	case <-p.exited:
		t.Fatal("it has exited with a request in flight")
	case <-time.After(500 * time.Millisecond):
	}
	p.terminate(t)
	if code := p.exits(t, time.Minute); code != 1 {
		t.Errorf("exit code %d, want 1: a client was cut off", code)
	}
	if rest, err := io.ReadAll(r); strings.HasSuffix(string(rest), "0\r\n\r\n") {
		t.Errorf("the request got %q, %v, want it cut off", rest, err)
	}
}

// A client that does not finish is cut off after drainTime, 10 seconds.
func TestTerminateEndsAfterTheDrainTime(t *testing.T) {
	if drainTime != 10*time.Second {
		t.Errorf("drainTime = %v, want 10 s", drainTime)
	}
	const drain = time.Second
	drainsIn(t, drain)
	p := startProcess(t, "--echo")
	inFlight(t, p.addr)
	start := time.Now()
	p.terminate(t)
	if code := p.exits(t, time.Minute); code != 1 {
		t.Errorf("exit code %d, want 1: a client was cut off", code)
	}
	if took := time.Since(start); took < drain {
		t.Errorf("it exited after %v, want %v", took, drain)
	}
}

// A signal that comes as soon as the address is printed shuts the server down in order.
func TestTerminateAtOnce(t *testing.T) {
	t.Parallel()
	for range 20 {
		p := startProcess(t, "--tls", "off")
		p.terminate(t)
		if code := p.exits(t, time.Minute); code != 0 {
			t.Fatalf("exit code %d, want 0", code)
		}
	}
}
