package udp

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// Addresses of clients.
const (
	far   = "203.0.113.5:40000"
	other = "198.51.100.7:40001"
	near  = "127.0.0.1:40002"
	six   = "[2001:db8::1]:40003"
)

func TestEvents(t *testing.T) {
	h := &hub{message: echo}
	inBubble(t, &Server{}, h, func(t *testing.T, conn *fakeConn) {
		conn.push(far, "a", "", "b\n")
		conn.push(six, "c")
		synctest.Wait()
		equal(t, "events", h.events(), "connect "+far, "message "+far+" a", "message "+far+" ", "message "+far+" b\n",
			"connect "+six, "message "+six+" c")
		equal(t, "sent", conn.sent(), far+" a", far+" ", far+" b\n", six+" c")
		info := h.client().info
		if info.Protocol != "udp" || info.Local != conn.local || info.Scheme() != "udp" {
			t.Errorf("info = %+v", info)
		}
		time.Sleep(time.Minute)
		conn.push(far, "d")
		time.Sleep(time.Minute + 2*time.Second) // expiry may be late
		equal(t, "events", h.events(), "message "+far+" d", "disconnect "+six+" idle timeout")
		time.Sleep(time.Minute)
		equal(t, "events", h.events(), "disconnect "+far+" idle timeout")
		conn.push(far, "again")
		synctest.Wait()
		equal(t, "events", h.events(), "connect "+far, "message "+far+" again")
	})
	equal(t, "events", h.events(), "disconnect "+far+" server is shutting down")
}

func TestLines(t *testing.T) {
	h := &hub{message: echo, connect: func(c *hubClient) error {
		_, err := c.Write([]byte("hi"), handlers.Text)
		return err
	}}
	inBubble(t, &Server{Lines: true}, h, func(t *testing.T, conn *fakeConn) {
		conn.push(near, "a\n", "b\r\n", "c", "\n", "d\n\n", "e\r", "")
		synctest.Wait()
		equal(t, "events", h.events(), "connect "+near, "message "+near+" a", "message "+near+" b", "message "+near+" c",
			"message "+near+" ", "message "+near+" d\n", "message "+near+" e\r", "message "+near+" ")
		equal(t, "sent", conn.sent(), near+" hi", near+" a\n", near+" b\n", near+" c\n", near+" \n", near+" d\n\n",
			near+" e\r\n", near+" \n")
	})
}

// A program cannot send more than a datagram can hold, and gets an error.
func TestTooLongToSend(t *testing.T) {
	h := &hub{}
	inBubble(t, &Server{Trusted: []netip.Prefix{netip.MustParsePrefix("::/0")}, Lines: true}, h, func(t *testing.T, conn *fakeConn) {
		for _, tt := range []struct {
			addr string
			most int
		}{{near, 65507}, {six, 65527}} {
			conn.push(tt.addr, "x")
			synctest.Wait()
			c := h.client()
			if n, err := c.Write(make([]byte, tt.most), handlers.Auto); n != tt.most || err != nil {
				t.Errorf("%s: Write(%d bytes) = %d, %v", tt.addr, tt.most, n, err)
			}
			for name, err := range map[string]error{
				"Write": func() error { _, err := c.Write(make([]byte, tt.most+1), handlers.Auto); return err }(),
				"Send":  c.Send(make([]byte, tt.most), handlers.Auto), // one byte more for the line end
			} {
				if !errors.Is(err, handlers.ErrTooLong) || !strings.Contains(err.Error(), "at most 655") {
					t.Errorf("%s: %s() = %v, want ErrTooLong", tt.addr, name, err)
				}
			}
			synctest.Wait()
			if n := len(conn.sent()); n != 1 {
				t.Errorf("%s: %d datagrams were sent, want 1", tt.addr, n)
			}
		}
	})
}

// A datagram that is too long is dropped and reported; its client stays.
func TestTooLongReceived(t *testing.T) {
	h := &hub{}
	var told []string
	s := &Server{MessageLimit: 5, OnError: func(remote netip.AddrPort, err error) {
		told = append(told, remote.String()+" "+err.Error())
	}}
	inBubble(t, s, h, func(t *testing.T, conn *fakeConn) {
		conn.push(far, "12345", "123456", strings.Repeat("x", 60000), "more")
		conn.push(other, "123456")
		synctest.Wait()
		equal(t, "events", h.events(), "connect "+far, "message "+far+" 12345", "message "+far+" more")
		text := " message too long: a datagram of more than 5 bytes"
		equal(t, "told", told, far+text, far+text, other+text)
		if st := s.Stats(); st.TooLong != 3 || st.Received != 5 || st.Clients != 1 {
			t.Errorf("Stats() = %+v", st)
		}
	})
}

// End and Destroy end a client. The next datagram makes a new one, whose events come after those of
// the old one.
func TestEnds(t *testing.T) {
	tests := []struct {
		name string
		end  func(c *hubClient) error
		want []string // after the message that ends it
	}{
		{"End", func(c *hubClient) error { return c.End() }, []string{
			"disconnect " + near + " <nil>", "connect " + near, "message " + near + " late",
		}},
		{"Destroy", func(c *hubClient) error { c.Destroy(); return nil }, []string{"disconnect " + near + " <nil>"}},
		{"error", func(*hubClient) error { return handlers.ErrPanic }, []string{"disconnect " + near + " callback panicked"}},
		{"closed", func(*hubClient) error { return handlers.ErrClosed }, []string{"disconnect " + near + " <nil>"}},
		{"panic", func(*hubClient) error { panic("no") }, []string{"disconnect " + near + " callback panicked: string"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := &hub{}
			began, goOn := make(chan struct{}), make(chan struct{})
			h.message = func(c *hubClient, m string) error {
				if m != "end" {
					return nil
				}
				close(began)
				<-goOn
				_, _ = c.Write([]byte("bye"), handlers.Auto)
				err := tt.end(c)
				if tt.name != "End" && tt.name != "Destroy" {
					return err
				}
				if _, err := c.Write(nil, handlers.Auto); err != handlers.ErrClosed {
					t.Errorf("Write() = %v after the end", err)
				}
				if err := c.End(); err != handlers.ErrClosed {
					t.Errorf("End() = %v after the end", err)
				}
				return err
			}
			inBubble(t, &Server{}, h, func(t *testing.T, conn *fakeConn) {
				began, goOn = make(chan struct{}), make(chan struct{})
				conn.push(near, "end")
				<-began
				conn.push(near, "late")
				synctest.Wait()
				time.Sleep(time.Second) // another goroutine reads by then
				close(goOn)
				synctest.Wait()
				conn.push(near, "new")
				synctest.Wait()
				want := append([]string{"connect " + near, "message " + near + " end"}, tt.want...)
				if tt.name != "End" {
					want = append(want, "connect "+near)
				}
				equal(t, "events", h.events(), append(want, "message "+near+" new")...)
				var sent []string
				if tt.name == "End" {
					sent = []string{near + " bye"}
				}
				if got := conn.sent(); tt.name == "End" && len(got) != 1 || len(got) > 1 {
					t.Errorf("sent %q, want %q", got, sent)
				}
			})
		})
	}
}

// Datagrams that come while a client leaves belong to the next client, after the last event of the
// old one.
func TestSuccessor(t *testing.T) {
	h := &hub{}
	goOn := make(chan struct{})
	h.message = func(c *hubClient, m string) error {
		if m == "end" {
			_ = c.End()
		}
		return nil
	}
	h.leave = func(_ *hubClient, err error) {
		if err == nil {
			<-goOn
		}
	}
	inBubble(t, &Server{}, h, func(t *testing.T, conn *fakeConn) {
		goOn = make(chan struct{})
		conn.push(far, "end")
		synctest.Wait()
		conn.push(far, "one", "two")
		conn.push(other, "meanwhile")
		time.Sleep(time.Second)
		equal(t, "events", h.events(), "connect "+far, "message "+far+" end", "connect "+other, "message "+other+" meanwhile")
		close(goOn)
		synctest.Wait()
		equal(t, "events", h.events(), "disconnect "+far+" <nil>", "connect "+far, "message "+far+" one", "message "+far+" two")
		if err := h.client().Send([]byte("123456789"), handlers.Auto); err != ErrUnvalidated && err != nil {
			t.Errorf("Send() = %v", err)
		}
	})
}

// If OnConnect panics or refuses a client, only that client is disconnected.
func TestConnectFails(t *testing.T) {
	h := &hub{}
	h.connect = func(c *hubClient) error {
		switch c.info.Remote.String() {
		case far:
			panic("no")
		case other:
			return handlers.ErrPanic
		}
		return nil
	}
	inBubble(t, &Server{}, h, func(t *testing.T, conn *fakeConn) {
		conn.push(far, "a")
		conn.push(other, "b", "c")
		conn.push(near, "d")
		synctest.Wait()
		got := h.events()
		if last := got[len(got)-2:]; last[0] != "connect "+near || last[1] != "message "+near+" d" {
			t.Errorf("events %q", got)
		}
		for _, e := range got {
			if strings.HasPrefix(e, "disconnect") || strings.HasPrefix(e, "message "+far) || strings.HasPrefix(e, "message "+other) {
				t.Errorf("a client that was refused has the event %q", e)
			}
		}
	})
}

// A callback that blocks delays only its own client, however many block.
func TestBlockedCallbacks(t *testing.T) {
	h := &hub{}
	block := make(chan struct{})
	h.message = func(c *hubClient, m string) error {
		if m == "block" {
			<-block
		}
		return echo(c, m)
	}
	inBubble(t, &Server{}, h, func(t *testing.T, conn *fakeConn) {
		block = make(chan struct{})
		for _, addr := range []string{far, other, six} {
			conn.push(addr, "block", "next")
		}
		time.Sleep(time.Second)
		conn.push(near, "quick")
		synctest.Wait()
		equal(t, "sent while three block", conn.sent(), near+" quick")
		conn.push(near, "block", "a", "b")
		time.Sleep(time.Second)
		conn.push("127.0.0.1:5000", "quick")
		synctest.Wait()
		equal(t, "sent while four block", conn.sent(), "127.0.0.1:5000 quick")
		close(block)
		synctest.Wait()
		order := map[string]string{}
		for _, s := range conn.sent() {
			addr, data, _ := strings.Cut(s, " ")
			order[addr] += data + " "
		}
		for _, addr := range []string{far, other, six} {
			if got := order[addr]; got != "block next " {
				t.Errorf("%s got %q", addr, got)
			}
		}
		if got := order[near]; got != "block a b " {
			t.Errorf("%s got %q", near, got)
		}
	})
}

// The number of datagrams that wait for a callback is bounded, for a client and for all.
func TestWaitingIsBounded(t *testing.T) {
	tests := []struct {
		name string
		s    *Server
		size int
		want int // messages of two clients, each of which sends 10 while its first callback blocks
	}{
		{"of a client", &Server{MaxWaiting: 4}, 10, 2 * 5},
		{"of all", &Server{MaxBacklog: 5000}, 300, 2 + 1}, // in buffers of 2048 bytes
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := &hub{}
			block := make(chan struct{})
			h.message = func(*hubClient, string) error { <-block; return nil }
			inBubble(t, tt.s, h, func(t *testing.T, conn *fakeConn) {
				block = make(chan struct{})
				for _, addr := range []string{far, other} {
					conn.push(addr, strings.Repeat("x", tt.size))
					time.Sleep(time.Second)
				}
				for range 10 {
					conn.push(far, strings.Repeat("x", tt.size))
					conn.push(other, strings.Repeat("x", tt.size))
				}
				time.Sleep(time.Second)
				close(block)
				synctest.Wait()
				n := 0
				for _, e := range h.events() {
					if strings.HasPrefix(e, "message") {
						n++
					}
				}
				if dropped := int(tt.s.Stats().Overflowed); n+dropped != 22 || n > tt.want || n < 2 {
					t.Errorf("%d messages and %d dropped, want %d at the most", n, dropped, tt.want)
				}
			})
		})
	}
}
