package udp

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// remote returns the i-th of many addresses.
func remote(i int) string { return fmt.Sprintf("203.0.%d.%d:%d", i>>8&255, i&255, 20000+i>>16) }

// A flood of new sources costs a bounded table. Clients that have sent more than one datagram, and
// validated ones, stay.
func TestFlood(t *testing.T) {
	const most = 100
	h, s := &hub{}, &Server{MaxClients: most}
	inBubble(t, s, h, func(t *testing.T, conn *fakeConn) {
		conn.push(far, "a", "b")
		conn.push(near, "a")
		synctest.Wait()
		h.events()
		for i := range 5000 {
			conn.push(remote(i), "x")
			if i%1000 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		connects, evicted := 0, 0
		for _, e := range h.events() {
			switch {
			case strings.HasPrefix(e, "connect"):
				connects++
			case strings.HasPrefix(e, "disconnect") && strings.HasSuffix(e, ErrEvicted.Error()):
				evicted++
			}
			if strings.Contains(e, far) || strings.Contains(e, near) {
				t.Errorf("event %q", e)
			}
		}
		st := s.Stats()
		if connects != 5000 || evicted != 5000-(most-2) || st.Evicted != uint64(evicted) || st.Clients != most || st.Validated != 1 {
			t.Errorf("%d have connected and %d made room; %+v", connects, evicted, st)
		}
		conn.push(far, "c")
		conn.push(near, "c")
		synctest.Wait()
		equal(t, "events", h.events(), "message "+far+" c", "message "+near+" c")
	})
}

// The clients that are evicted for a newcomer.
func TestVictims(t *testing.T) {
	const third = "203.0.113.77:7777"
	tests := []struct {
		name    string
		in      [][2]string // the addresses that fill a table of 2
		wait    time.Duration
		new     string
		evicted string
	}{
		{"the older of two", [][2]string{{far, "a"}, {other, "a"}}, 0, third, far},
		{"the one that has said less", [][2]string{{far, "a"}, {far, "b"}, {other, "a"}}, 0, third, other},
		{"both have said more", [][2]string{{far, "a"}, {far, "b"}, {other, "a"}, {other, "b"}}, 0, third, ""},
		{"both have, but not lately", [][2]string{{far, "a"}, {far, "b"}, {other, "a"}, {other, "b"}}, 10 * time.Second, third, far},
		{"validated stay", [][2]string{{near, "a"}, {"127.0.0.1:1234", "a"}}, 90 * time.Second, third, ""},
		{"validated, for another", [][2]string{{near, "a"}, {"127.0.0.1:1234", "a"}}, 30 * time.Second, "[::1]:99", ""},
		{"validated and silent, for another", [][2]string{{near, "a"}, {"127.0.0.1:1234", "a"}}, 60 * time.Second, "[::1]:99", near},
		{"unvalidated first", [][2]string{{near, "a"}, {far, "a"}}, 60 * time.Second, "[::1]:99", far},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, s := &hub{}, &Server{MaxClients: 2}
			inBubble(t, s, h, func(t *testing.T, conn *fakeConn) {
				for _, in := range tt.in {
					conn.push(in[0], in[1])
				}
				synctest.Wait()
				h.events()
				time.Sleep(tt.wait)
				conn.push(tt.new, "new")
				synctest.Wait()
				var want []string
				if tt.evicted != "" {
					want = []string{"disconnect " + tt.evicted + " " + ErrEvicted.Error(), "connect " + tt.new, "message " + tt.new + " new"}
				}
				equal(t, "events", h.events(), want...)
				if st := s.Stats(); st.Refused == 1 != (tt.evicted == "") || st.Clients != 2 {
					t.Errorf("Stats() = %+v", st)
				}
			})
		})
	}
}

// Clients whose callbacks block are not evicted, and clients that are leaving are counted, so the
// table stays bounded.
func TestFloodOfBlocked(t *testing.T) {
	h, s := &hub{}, &Server{MaxClients: 3}
	block := make(chan struct{})
	h.message = func(*hubClient, string) error { <-block; return nil }
	inBubble(t, s, h, func(t *testing.T, conn *fakeConn) {
		block = make(chan struct{})
		for i := range 10 {
			conn.push(remote(i), "x")
			time.Sleep(100 * time.Millisecond)
		}
		if st := s.Stats(); st.Clients != 3 || st.Refused != 7 {
			t.Errorf("Stats() = %+v", st)
		}
		close(block)
	})
}

// Datagrams that are sent to a client do not extend its Timeout; only those from it do.
func TestIdle(t *testing.T) {
	h, s := &hub{}, &Server{Timeout: 10 * time.Second}
	inBubble(t, s, h, func(t *testing.T, conn *fakeConn) {
		conn.push(near, "x")
		for range 11 {
			time.Sleep(time.Second)
			if c := h.client(); c != nil {
				_ = c.Send(nil, handlers.Auto)
			}
		}
		equal(t, "events", h.events(), "connect "+near, "message "+near+" x", "disconnect "+near+" idle timeout")
		if n := len(conn.sent()); n < 9 || n > 10 {
			t.Errorf("%d datagrams were sent", n)
		}
		if err := h.client().Send(nil, handlers.Auto); err != handlers.ErrClosed {
			t.Errorf("Send() = %v", err)
		}
	})
}

// Idle clients have no goroutine.
func TestNoGoroutines(t *testing.T) {
	h, s := &hub{}, &Server{}
	inBubble(t, s, h, func(t *testing.T, conn *fakeConn) {
		conn.push(near, "x")
		time.Sleep(time.Second)
		before := runtime.NumGoroutine()
		for i := range 1000 {
			conn.push(remote(i), "x")
		}
		time.Sleep(time.Second)
		if n := runtime.NumGoroutine() - before; n > 0 || s.Stats().Clients != 1001 {
			t.Errorf("%d goroutines more, with %d clients", n, s.Stats().Clients)
		}
	})
}

// With a negative Timeout clients stay.
func TestNoTimeout(t *testing.T) {
	h, s := &hub{}, &Server{Timeout: -1}
	inBubble(t, s, h, func(t *testing.T, conn *fakeConn) {
		conn.push(near, "x")
		time.Sleep(1000 * time.Hour)
		equal(t, "events", h.events(), "connect "+near, "message "+near+" x")
	})
}

// A remote address that talks to two local addresses is two clients, each of which is answered from
// its own.
func TestTwoSockets(t *testing.T) {
	h, s := &hub{message: echo}, &Server{}
	inBubble(t, s, h, func(t *testing.T, conn *fakeConn) {
		second := newFakeConn()
		second.local = netip.MustParseAddrPort("192.0.2.2:8100")
		done := make(chan error, 1)
		go func() { done <- s.ServePacket(second, h) }() // ends with Shutdown
		synctest.Wait()
		conn.push(far, "one")
		synctest.Wait()
		second.push(far, "two")
		synctest.Wait()
		equal(t, "events", h.events(), "connect "+far, "message "+far+" one", "connect "+far, "message "+far+" two")
		equal(t, "sent by the first", conn.sent(), far+" one")
		equal(t, "sent by the second", second.sent(), far+" two")
		if err := s.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
		if err := <-done; err != ErrServerClosed {
			t.Errorf("ServePacket() = %v", err)
		}
	})
}
