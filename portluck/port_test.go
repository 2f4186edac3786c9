//go:build linux

package portluck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/matchers"
)

// A server goes on accepting from several listeners.
func TestAcceptingGoesOn(t *testing.T) {
	s := &Server{Hub: echoHub()}
	listeners := []net.Listener{listen(t), listen(t), listen(t)}
	for _, l := range listeners {
		serveOn(t, s, l)
	}
	for _, l := range listeners {
		talk(t, l.Addr().String(), "{}\n")
	}
	for _, l := range listeners {
		if got := talk(t, l.Addr().String(), "{}\n"); got != "{}\n" {
			t.Errorf("read %q", got)
		}
	}
	if n := s.Stats().AcceptErrors; n > 0 {
		t.Errorf("%d errors", n)
	}
}

// Asking for the counters does not freeze the configuration.
func TestStatsBeforeServe(t *testing.T) {
	s := &Server{Hub: echoHub()}
	if got := s.Stats(); fmt.Sprint(got) != fmt.Sprint(Stats{}) {
		t.Errorf("Stats() = %+v before Serve", got)
	}
	s.HandleFunc("ssh", matchers.SSH(), func(c net.Conn) { c.Write([]byte("it is SSH")) })
	c := dial(t, serve(t, s))
	send(t, c, "SSH-")
	expect(t, c, "it is SSH")
}

// plainListener is a listener that cannot be peeked at.
type plainListener struct{ net.Listener }

// seen waits until s has accepted that many connections, that many are undecided, and s has looked
// at bytes of each. Then all are in one stage, and it is certain which is the oldest.
func seen(t *testing.T, s *Server, accepted, undecided int) {
	t.Helper()
	p := must(s.start())
	eventually(t, "they are seen", func() bool {
		p.sniff.mu.Lock()
		first := p.sniff.lists[stageFirst].n
		p.sniff.mu.Unlock()
		st := s.Stats()
		return first == 0 && st.Accepted == uint64(accepted) && st.Sniffing == undecided && st.Shed == uint64(accepted-undecided)
	})
}

// If there are too many undecided connections, the oldest is closed, whether it is peeked at or
// read.
func TestMaxSniffingShedsTheOldest(t *testing.T) {
	for name, wrap := range map[string]func(net.Listener) net.Listener{
		"peeked": func(l net.Listener) net.Listener { return l },
		"read":   func(l net.Listener) net.Listener { return plainListener{l} },
	} {
		t.Run(name, func(t *testing.T) {
			hub, e := record(echo)
			s := &Server{Hub: hub, MaxSniffing: 3, SniffTimeout: time.Hour, OnSilence: handlers.Refuse}
			l := listen(t)
			serveOn(t, s, wrap(l))
			var all []*net.TCPConn
			for i := range 6 {
				all = append(all, dial(t, l.Addr().String()))
				send(t, all[i], "GE")
				seen(t, s, i+1, min(i+1, 3))
			}
			for _, c := range all[:3] {
				if b, err := net.Conn(c).Read(make([]byte, 1)); b > 0 || err == nil {
					t.Errorf("an old connection reads %d, %v", b, err)
				}
			}
			for _, c := range all[3:] {
				send(t, c, "M\n")
				expect(t, c, "GEM\n")
			}
			if got := s.Stats().Shed; got != 3 {
				t.Errorf("Shed = %d, want 3", got)
			}
			n := 0
			for _, ev := range e.all() {
				if strings.HasPrefix(ev, "error "+ErrShed.Error()) {
					n++
				}
			}
			if n != 3 {
				t.Errorf("events %q", e.all())
			}
		})
	}
	t.Run("no bound", func(t *testing.T) {
		s := &Server{Hub: echoHub(), MaxSniffing: -1}
		c := dial(t, serve(t, s))
		send(t, c, "G")
		eventually(t, "it is seen", func() bool { return s.Stats().Sniffing == 1 })
		send(t, c, "\n")
		expect(t, c, "G\n")
	})
}

// Behind a proxy MaxConnsPerIP applies to each client, not to the proxy.
func TestMaxConnsPerIPBehindAProxy(t *testing.T) {
	hub, e := record(echo)
	s := &Server{Hub: hub, MaxConnsPerIP: 2, ProxyFrom: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	addr := serve(t, s)
	from := func(client string) *net.TCPConn {
		c := dial(t, addr)
		send(t, c, "PROXY TCP4 "+client+" 5.6.7.8 1000 80\r\n{}\n")
		return c
	}
	var all []*net.TCPConn
	for _, client := range []string{"1.1.1.1", "1.1.1.1", "2.2.2.2", "2.2.2.2", "3.3.3.3"} {
		c := from(client)
		expect(t, c, "{}\n")
		all = append(all, c)
	}
	surplus := from("1.1.1.1")
	if n, err := surplus.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Errorf("the third of one address reads %d, %v", n, err)
	}
	eventually(t, "the error is told", func() bool {
		return strings.Contains(strings.Join(e.all(), ";"), "error "+ErrLimit.Error())
	})
	if got := s.Stats().Refused; got != 1 {
		t.Errorf("Refused = %d, want 1", got)
	}
	for _, c := range all {
		c.Close()
	}
	eventually(t, "all are gone", func() bool { return s.Stats().Open == 0 })
	expect(t, from("1.1.1.1"), "{}\n")
}

// A raw callback that does not return delays a shutdown only until the context ends.
func TestShutdownDeadlineOfRaw(t *testing.T) {
	t.Parallel()
	block := make(chan struct{})
	hub := &Hub{OnMessage: func(Message, *Writer, *Client) { <-block }}
	s := &Server{Hub: hub, Goroutines: byGoroutines}
	l := listen(t)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	send(t, dial(t, l.Addr().String()), "{}\n")
	eventually(t, "it is served", func() bool { return hub.Len() == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown() = %v", err)
	}
	close(block)
	<-done
}

// Every connection that does not become a client is counted, even one that the loop has already
// got.
func TestFailedIsCounted(t *testing.T) {
	hub, e := record(echo)
	s := &Server{Hub: hub}
	addr := serve(t, s)
	talk(t, addr, "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
	e.waitFor(1)
	eventually(t, "it is counted", func() bool { return s.Stats().Failed == 1 })
}
