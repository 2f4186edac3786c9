//go:build linux

package portluck

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/matchers"
)

func TestTraps1Row03CloseRefusesThePort(t *testing.T) {
	s := &Server{}
	l := must(net.Listen("tcp", "127.0.1.3:0")) // no other test uses ports of this address
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	talk(t, l.Addr().String(), "{}\n")
	s.Close()
	<-done
	for range 200 {
		if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
			c.Close()
			t.Fatal("the port is still open")
		}
	}
}

func TestTraps1Row04ClosingOneRouteLeavesThePort(t *testing.T) {
	hub, _ := record(echo)
	s := &Server{Hub: hub}
	l := s.Listen("ssh", matchers.SSH())
	addr := serve(t, s)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if got := talk(t, addr, "{}\n"); got != "{}\n" {
		t.Errorf("raw reads %q", got)
	}
	talk(t, addr, "SSH-2.0-x\r\n") // nobody is there for it
}

func TestTraps1Row05QueuedRequestsAreServed(t *testing.T) {
	hub, _ := record(echo)
	s := &Server{Hub: hub}
	l := listen(t)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	talk(t, l.Addr().String(), "up\n")
	var all []*net.TCPConn
	for range 50 {
		c := dial(t, l.Addr().String())
		send(t, c, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
		all = append(all, c)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown() = %v", err)
	}
	<-done
	for i, c := range all {
		if got := expectEnd(t, c); !strings.HasSuffix(got, "hi\n") {
			t.Errorf("request %d is answered with %q %v", i, got, c.LocalAddr())
		}
	}
}

func TestTraps1Row06NobodyAccepts(t *testing.T) {
	if !alone(t) {
		return
	}
	s := &Server{SniffTimeout: sniffSoon}
	l := s.Listen("nobody", matchers.Prefix("NOBODY"))
	defer l.Close()
	addr := serve(t, s)
	talk(t, addr, "{}\n")
	before := runtime.NumGoroutine()
	for range 1500 {
		send(t, dial(t, addr), "NOBODY")
	}
	eventually(t, "all are shed", func() bool { return s.Stats().Accepted == 1501 && s.Stats().Open == 0 })
	if n := runtime.NumGoroutine() - before; n > 20 {
		t.Errorf("%d more goroutines", n)
	}
}

func TestTraps1Row07Errors(t *testing.T) {
	s := &Server{}
	sub := s.Listen("x", matchers.SSH())
	l := listen(t)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	talk(t, l.Addr().String(), "{}\n")
	sub.Close()
	if _, err := sub.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept() = %v, want net.ErrClosed", err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve() = %v, want ErrServerClosed", err)
	}
}

func TestTraps1Row08ServeTwice(t *testing.T) {
	s := &Server{}
	l := listen(t)
	serveOn(t, s, l)
	talk(t, l.Addr().String(), "{}\n")
	if err := s.Serve(l); err == nil || errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve() of the same listener = %v", err)
	}
	s2 := &Server{}
	if err := s2.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s2.Serve(listen(t)); !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve() after Shutdown = %v", err)
	}
}

// floodEnv makes this binary the server of row 9, with this SniffTimeout.
const floodEnv = "PORTLUCK_FLOOD"

func init() {
	sniff, err := time.ParseDuration(os.Getenv(floodEnv))
	if err != nil {
		return
	}
	limit := syscall.Rlimit{Cur: 64, Max: 64}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	s := &Server{Hub: echoHub(), SniffTimeout: sniff, OnSilence: handlers.Refuse}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	go s.Serve(l)
	fmt.Println(l.Addr())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(s.Stats().AcceptErrors, cpuTime().Milliseconds())
	}
	os.Exit(0)
}

// flooded starts a server with few descriptors. It answers each line on in with its number of
// accept errors and its CPU time in milliseconds.
func flooded(t *testing.T, sniff time.Duration) (addr string, in io.Writer, out *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), floodEnv+"="+sniff.String())
	stdin, _ := cmd.StdinPipe()
	stdout, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	out = bufio.NewReader(stdout)
	addr, err := out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(addr), stdin, out
}

// A client is closed if there is no descriptor for it: also part 3, row 12.
func TestTraps1Row09TheReserveSheds(t *testing.T) {
	addr, _, _ := flooded(t, time.Hour)
	ends := make(chan error, 100)
	for range cap(ends) {
		c := dial(t, addr)
		go func() { // ends with the connection, at the end of the test at the latest
			_, err := c.Read(make([]byte, 1))
			ends <- err
		}()
	}
	if err := <-ends; errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("nobody is closed")
	}
}

// A server without descriptors waits instead of spinning, and recovers: also part 2, row 10.
func TestTraps1Row09NoDescriptors(t *testing.T) {
	t.Parallel()
	addr, in, out := flooded(t, 500*time.Millisecond)
	ask := func() (errs, cpu int) {
		fmt.Fprintln(in)
		fmt.Fscanln(out, &errs, &cpu)
		return errs, cpu
	}
	closeAll := silentClients(t, addr, 200)
	begin := time.Now()
	_, cpu := ask()
	pauseFor(time.Second)
	errs, after := ask()
	most := 50
	if raceEnabled {
		most = 250 // it multiplies the work by five
	}
	if took := time.Since(begin).Seconds(); errs == 0 || float64(errs) > 100*took || float64(after-cpu) > float64(most)*took {
		t.Errorf("%d accept errors, %d ms of CPU in %.1f s", errs, after-cpu, took)
	}
	closeAll()
	eventually(t, "it serves again", func() bool {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Second))
		fmt.Fprintln(c, "{}")
		line, _ := bufio.NewReader(c).ReadString('\n')
		return line == "{}\n"
	})
}

func TestTraps1Row10MatcherPanics(t *testing.T) {
	hub, e := record(echo)
	s := &Server{Hub: hub}
	s.Handle("bad", matchers.MatcherFunc(func(h matchers.Hello) matchers.Verdict {
		if bytes.HasPrefix(h.Bytes, []byte("{panic")) {
			panic("in a matcher")
		}
		return matchers.No
	}), handlers.Refuse)
	addr := serve(t, s)
	if got := talk(t, addr, "{panic\n"); got != "" {
		t.Errorf("read %q", got)
	}
	if got := talk(t, addr, "{fine\n"); got != "{fine\n" {
		t.Errorf("another client reads %q", got)
	}
	got := e.waitFor(4) // those of the two come in any order
	if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "error "+ErrMatcher.Error()) }) {
		t.Errorf("events %q", got)
	}
}

func TestTraps1Row11Frozen(t *testing.T) {
	t.Parallel()
	hub, _ := record(echo)
	s := &Server{Hub: hub}
	addr := serve(t, s)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				talk(t, addr, "{}\n")
			}
		})
		wg.Go(func() {
			for range 50 {
				s.Stats()
				hub.Clients()
				hub.Broadcast(TextMessage("x"))
			}
		})
	}
	wg.Wait()
	defer func() {
		if v := recover(); v == nil || !strings.Contains(fmt.Sprint(v), "Handle after Serve") {
			t.Errorf("Handle after Serve: %v", v)
		}
	}()
	s.Handle("late", matchers.Any(), handlers.Refuse)
}
