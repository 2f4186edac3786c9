//go:build linux

package portluck

import (
	"crypto/tls"
	"errors"
	"maps"
	"math"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/matchers"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// silentClients opens n silent connections to addr, as bare descriptors, which cost this process
// next to nothing. They are closed when the test ends, or by the func that is returned.
func silentClients(t testing.TB, addr string, n int) (closeAll func()) {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	sa := &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())}
	var fds []int
	closeAll = func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
		fds = nil
	}
	t.Cleanup(closeAll)
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
		if err := unix.Connect(fd, sa); err != nil {
			t.Fatal(err)
		}
	}
	return closeAll
}

// Silent clients delay nothing, however long they are silent.
func TestTraps1Row01SilentClientsDoNotHoldUpClose(t *testing.T) {
	t.Parallel()
	// the kernel does not keep silent connections then
	s := &Server{SniffTimeout: time.Hour, OnSilence: handlers.Refuse}
	l := listen(t)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	silentClients(t, l.Addr().String(), 1000)
	eventually(t, "all are being sniffed", func() bool { return s.Stats().Sniffing == 1000 })
	s.Close()
	select {
	case err := <-done:
		if !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve() = %v", err)
		}
	case <-time.After(patience):
		t.Error("Serve waits for silent clients")
	}
}

func TestTraps1Row02SilentClientIsClosedAtTheDeadline(t *testing.T) {
	t.Parallel()
	addr := serve(t, &Server{SniffTimeout: sniffSoon, OnSilence: handlers.Refuse})
	expectEnd(t, dial(t, addr))
}

// A silent client that was announced is closed when it has been idle for Timeout. So is one that
// still waits for its first byte because raw clients are refused. That is not a failure, since the
// program does not know of the client.
func TestTraps1Row13SilentClientsAreGoneAtTimeout(t *testing.T) {
	t.Parallel()
	for name, unmatched := range map[string]handlers.Handler{"raw": nil, "no raw": handlers.Refuse} {
		t.Run(name, func(t *testing.T) {
			const n = 300
			hub, e := record(nil)
			var lines locked
			logger := zerolog.New(&lines).Level(zerolog.InfoLevel)
			s := &Server{Hub: hub, SniffTimeout: sniffSoon, Timeout: 300 * time.Millisecond, OnUnmatched: unmatched, Logger: &logger}
			addr, hidden := serve(t, s), listen(t)
			serveOn(t, s, hiding{hidden})
			silentClients(t, addr, n/2)
			silentClients(t, hidden.Addr().String(), n/2)
			eventually(t, "all have come and gone", func() bool { return s.Stats().Accepted == n && s.Stats().Open == 0 })
			want := map[string]int{"connect tcp": n, "disconnect tcp: " + handlers.ErrTimeout.Error(): n}
			if unmatched != nil {
				want = map[string]int{}
			}
			if st := s.Stats(); st.Failed > 0 || lines.String() != "" {
				t.Errorf("%d failures, log %q", st.Failed, lines.String())
			}
			got := map[string]int{}
			for _, ev := range e.waitFor(n * len(want)) {
				got[ev]++
			}
			if !maps.Equal(got, want) {
				t.Errorf("events %v, want %v", got, want)
			}
		})
	}
}

// A client that was silent for longer than SniffTimeout is still classified by what it says later:
// part 5, row 1.
func TestTraps5Row1PreconnectedBrowser(t *testing.T) {
	t.Parallel()
	for name, unmatched := range map[string]handlers.Handler{"raw": nil, "no raw": handlers.Refuse} {
		t.Run(name, func(t *testing.T) {
			hub, _ := record(echo)
			s := &Server{Hub: hub, TLSConfig: withTLS(), SniffTimeout: sniffSoon, OnUnmatched: unmatched}
			allowHandshakes(t, s)
			addr := serve(t, s)
			plain, secure := dial(t, addr), dial(t, addr)
			inner := dialTLS(t, addr) // no ALPN: silent inside TLS too
			pauseFor(2 * sniffSoon)   // for the last of them
			const post = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
			tc := tls.Client(secure, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
			for name, c := range map[string]net.Conn{"plain": plain, "TLS": tc, "inside TLS": inner} {
				send(t, c, post)
				if got := expectEnd(t, c); !strings.HasPrefix(got, "HTTP/1.1 200 ") || !strings.HasSuffix(got, "hi\n") {
					t.Errorf("%s: %q", name, got)
				}
			}
		})
	}
}

// This test measures what a silent client costs: rows 12 and 13, and part 2, row 6. It compares two
// numbers of clients, once all were announced, so that what the server and other tests need does
// not count. It takes the best of several measurements, because the runtime may hold more memory on
// a loaded machine, but never less.
func TestTraps1Row12SilentClientsAreCheap(t *testing.T) {
	if !alone(t) {
		return
	}
	const few, more = 500, 3000
	hub := echoHub()
	// the kernel does not keep them, and they are announced afterwards
	s := &Server{Hub: hub, SniffTimeout: deferTime}
	addr := serve(t, s)
	talk(t, addr, "{}\n")
	begin := runtime.NumGoroutine()
	best := int64(math.MaxInt64)
	for range 5 {
		closeFew := silentClients(t, addr, few)
		before := settledMemory(t, hub, few)
		closeMore := silentClients(t, addr, more)
		after := settledMemory(t, hub, few+more)
		if n := runtime.NumGoroutine() - begin; n > 20 {
			t.Errorf("%d more goroutines", n)
		}
		if got := talk(t, addr, "{good}\n"); got != "{good}\n" {
			t.Errorf("another client reads %q", got)
		}
		closeMore()
		closeFew()
		eventually(t, "all are gone", func() bool { return s.Stats().Open == 0 && hub.Len() == 0 })
		if best = min(best, (after-before)/more); best <= 1200 {
			break
		}
	}
	t.Logf("%d bytes a client", best)
	if best > 1200 && !raceEnabled {
		t.Errorf("%d bytes a client", best)
	}
}

// settledMemory returns the memory in use once there are n clients and their garbage has been
// collected.
func settledMemory(t *testing.T, hub *Hub, n int) int64 {
	t.Helper()
	eventually(t, "all are announced", func() bool { return hub.Len() == n })
	least, _ := memory()
	for range 3 {
		pauseFor(10 * time.Millisecond)
		now, _ := memory()
		least = min(least, now)
	}
	return least
}

func TestTraps1Row14NoMuxInTheStack(t *testing.T) {
	s := &Server{}
	in := make(chan struct{})
	s.HandleFunc("blocked", matchers.Prefix("BLOCK"), func(c net.Conn) {
		buf := make([]byte, 5)
		c.Read(buf)
		close(in)
		c.Read(buf)
	})
	c := dial(t, serve(t, s))
	send(t, c, "BLOCK")
	<-in
	eventually(t, "it blocks", func() bool {
		buf := make([]byte, 1<<20)
		for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(stack, "TestTraps1Row14") && strings.Contains(stack, "net.(*conn).Read") {
				return !strings.Contains(stack, "cmux")
			}
		}
		return false
	})
}
