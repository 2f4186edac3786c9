package udp

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// Whatever the program sends, an unvalidated client is sent at most three times what came from it,
// in bytes and in datagrams (TRAPS part 2, row 20).
func TestAmplification(t *testing.T) {
	tests := []struct {
		name  string
		s     *Server
		addr  string
		in    []string
		sizes []int // of the datagrams that the program sends
		want  string
	}{
		{"within", &Server{}, far, []string{"1234"}, []int{4, 4, 4}, "4 4 4"},
		{"bytes", &Server{}, far, []string{"1234"}, []int{13, 12, 1}, "12"},
		{"datagrams", &Server{}, far, []string{"1234"}, []int{1, 1, 1, 1, 0}, "1 1 1"},
		{"more sent", &Server{}, far, []string{"1234", "56"}, []int{18, 0, 0, 1, 0}, "18 0 0 0"},
		{"empty", &Server{}, far, []string{""}, []int{1, 0, 0, 0, 0}, "0 0 0"},
		{"line ends count", &Server{Lines: true}, far, []string{"1"}, []int{3, 2}, "3"},
		{"IPv6", &Server{}, six, []string{"1234"}, []int{13, 12}, "12"},
		{"loopback", &Server{}, near, []string{""}, []int{1, 1000, 60000}, "1 1000 60000"},
		{"trusted", &Server{Trusted: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}, far, []string{""}, []int{1, 1000}, "1 1000"},
		{"trusted others", &Server{Trusted: []netip.Prefix{netip.MustParsePrefix("203.0.112.0/24")}}, far, []string{""}, []int{1000}, ""},
		{"rate", &Server{UnvalidatedRate: 10}, far, []string{"123456789"}, []int{11, 10, 1}, "10"},
		{
			"no rate", &Server{UnvalidatedRate: -1}, far,
			[]string{strings.Repeat("x", 60000), strings.Repeat("x", 60000)},
			[]int{60000, 60000},
			"60000 60000",
		},
		{"default rate", &Server{}, far, []string{strings.Repeat("x", 60000), strings.Repeat("x", 60000)}, []int{60000, 60000}, "60000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := &hub{}
			inBubble(t, tt.s, h, func(t *testing.T, conn *fakeConn) {
				conn.push(tt.addr, tt.in...)
				synctest.Wait()
				refused := 0
				for _, n := range tt.sizes {
					msg := []byte(strings.Repeat("y", n))
					if err := h.client().Send(msg, handlers.Auto); err == ErrUnvalidated {
						refused++
					} else if err != nil {
						t.Errorf("Send(%d bytes) = %v", n, err)
					}
				}
				synctest.Wait()
				var sizes []string
				for _, d := range conn.sent() {
					_, data, _ := strings.Cut(d, " ")
					sizes = append(sizes, fmt.Sprint(len(data)))
				}
				if got := strings.Join(sizes, " "); got != tt.want {
					t.Errorf("sent %q bytes, want %q", got, tt.want)
				}
				if st := tt.s.Stats(); int(st.Unvalidated) != refused || len(sizes)+refused != len(tt.sizes) {
					t.Errorf("%d refused, Stats() = %+v", refused, st)
				}
			})
		})
	}
}

// The bytes per second to the unvalidated clients of one network are bounded, however many clients
// there are.
func TestRateOfNetwork(t *testing.T) {
	tests := []struct {
		name  string
		addrs []string
		want  int // bytes, if each client may be sent 100 and the rate is 150
	}{
		{"one /24", []string{"203.0.113.1:9999", "203.0.113.2:9999", "203.0.113.200:9999"}, 100},
		{"two", []string{"203.0.113.1:9999", "203.0.112.2:9999"}, 200},
		{"one /48", []string{"[2001:db8:1:1::1]:9999", "[2001:db8:1:2::1]:9999"}, 100},
		{"two /48", []string{"[2001:db8:1:1::1]:9999", "[2001:db8:2:2::1]:9999"}, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := &hub{}
			h.message = func(c *hubClient, _ string) error { _ = c.Send(make([]byte, 100), handlers.Auto); return nil }
			inBubble(t, &Server{UnvalidatedRate: 150}, h, func(t *testing.T, conn *fakeConn) {
				total := func() (n int) {
					for _, d := range conn.sent() {
						_, data, _ := strings.Cut(d, " ")
						n += len(data)
					}
					return n
				}
				for _, addr := range tt.addrs {
					conn.push(addr, strings.Repeat("x", 50))
				}
				synctest.Wait()
				if got := total(); got != tt.want {
					t.Errorf("%d bytes went out at once, want %d", got, tt.want)
				}
				time.Sleep(time.Second)
				for _, addr := range tt.addrs[:1] {
					conn.push(addr, strings.Repeat("x", 50))
				}
				synctest.Wait()
				if got := total(); got != 100 {
					t.Errorf("%d bytes went out a second later, want 100", got)
				}
			})
		})
	}
}

// A client that sends its token is validated. Another client's token, an old one, or a part of one
// does not validate it.
func TestToken(t *testing.T) {
	const big = 5000
	tests := []struct {
		name  string
		reply func(s *Server) []string
		ok    bool
		want  []string // the messages that the datagrams make
	}{
		{"alone", func(s *Server) []string { return []string{s.Token(netip.MustParseAddrPort(far))} }, true, nil},
		{"with a line end", func(s *Server) []string { return []string{s.Token(netip.MustParseAddrPort(far)) + "\r\n"} }, true, nil},
		{"with a message", func(s *Server) []string { return []string{s.Token(netip.MustParseAddrPort(far)) + "\nhi\n"} }, true, []string{"hi\n"}},
		{"mapped", func(s *Server) []string {
			return []string{s.Token(netip.MustParseAddrPort("[::ffff:203.0.113.5]:40000")) + "hi"}
		}, true, []string{"hi"}},
		{"of another", func(s *Server) []string { return []string{s.Token(netip.MustParseAddrPort(other))[:TokenSize]} }, false, []string{"TOKEN"}},
		{"of another server", func(*Server) []string { return []string{new(Server).Token(netip.MustParseAddrPort(far))} }, false, []string{"TOKEN"}},
		{"half", func(s *Server) []string { return []string{s.Token(netip.MustParseAddrPort(far))[1:]} }, false, []string{"TOKEN"}},
		{"of the last period", func(s *Server) []string {
			token := s.Token(netip.MustParseAddrPort(far))
			time.Sleep(10 * time.Minute)
			return []string{token}
		}, true, nil},
		{"too old", func(s *Server) []string {
			token := s.Token(netip.MustParseAddrPort(far))
			time.Sleep(20 * time.Minute)
			return []string{token}
		}, false, []string{"TOKEN"}},
		{"no", func(*Server) []string { return []string{"0123456789abcdef", "0123456789ABCDEF"} }, false, []string{"TOKEN", "TOKEN"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, s := &hub{}, &Server{Timeout: -1}
			inBubble(t, s, h, func(t *testing.T, conn *fakeConn) {
				conn.push(far, "x")
				synctest.Wait()
				h.events()
				replies := tt.reply(s)
				conn.push(far, replies...)
				synctest.Wait()
				var want []string
				for i, m := range tt.want {
					if m == "TOKEN" {
						m = replies[i]
					}
					want = append(want, "message "+far+" "+m)
				}
				equal(t, "events", h.events(), want...)
				err := h.client().Send(make([]byte, big), handlers.Auto)
				if tt.ok && err != nil || !tt.ok && err != ErrUnvalidated {
					t.Errorf("Send() = %v, validated is to be %t", err, tt.ok)
				}
				if st := s.Stats(); st.Validated == 1 != tt.ok {
					t.Errorf("Stats() = %+v", st)
				}
			})
		})
	}
}

// A token may be the first thing that a client sends. It makes a client without a message.
func TestTokenFirst(t *testing.T) {
	h, s := &hub{}, &Server{}
	inBubble(t, s, h, func(t *testing.T, conn *fakeConn) {
		conn.push(far, s.Token(netip.MustParseAddrPort(far)))
		synctest.Wait()
		equal(t, "events", h.events(), "connect "+far)
	})
}

// Room traffic goes to clients on loopback that have sent something in the last minute, and to
// others only with RoomsTo, within the limits of unvalidated clients.
func TestRooms(t *testing.T) {
	everywhere := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	tests := []struct {
		name string
		s    *Server
		addr string
		wait time.Duration
		want bool
	}{
		{"loopback", &Server{}, near, 0, true},
		{"loopback, for a minute", &Server{}, near, time.Minute, true},
		{"loopback, silent", &Server{}, near, time.Minute + 1, false},
		{"another window", &Server{RoomWindow: time.Second}, near, 2 * time.Second, false},
		{"no window", &Server{RoomWindow: -1, Timeout: -1}, near, 1000 * time.Hour, true},
		{"beyond", &Server{}, far, 0, false},
		{"beyond, trusted", &Server{Trusted: everywhere}, far, 0, false},
		{"beyond, elsewhere", &Server{RoomsTo: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, far, 0, false},
		{"everywhere", &Server{RoomsTo: everywhere}, far, 0, true},
		{"everywhere, silent", &Server{RoomsTo: everywhere}, far, time.Minute + 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := &hub{}
			inBubble(t, tt.s, h, func(t *testing.T, conn *fakeConn) {
				conn.push(tt.addr, "1234")
				synctest.Wait()
				time.Sleep(tt.wait)
				for _, m := range []string{"room", strings.Repeat("x", 100), "end"} {
					if err := h.client().TrySend([]byte(m), handlers.Auto); err != nil {
						t.Errorf("TrySend() = %v: a room would take it for slow, or gone", err)
					}
				}
				synctest.Wait()
				var want []string
				if tt.want {
					want = []string{tt.addr + " room"}
					if tt.addr == near {
						want = append(want, tt.addr+" "+strings.Repeat("x", 100))
					}
					want = append(want, tt.addr+" end")
				}
				equal(t, "sent", conn.sent(), want...)
				if st := tt.s.Stats(); st.Muted+st.Unvalidated+uint64(len(want)) != 3 {
					t.Errorf("Stats() = %+v", st)
				}
			})
		})
	}
}

// Datagrams from sources that cannot be answered make no clients.
func TestRefusedSources(t *testing.T) {
	quic := string(append([]byte{0xc3, 0, 0, 0, 1}, make([]byte, 1195)...))
	tests := []struct {
		name string
		s    *Server
		addr string
		data string
		want bool // the source becomes a client
	}{
		{"any", &Server{}, far, "x", true},
		{"port 0", &Server{}, "203.0.113.5:0", "x", false},
		{"echo", &Server{}, "203.0.113.5:7", "x", false},
		{"dns", &Server{}, "203.0.113.5:53", "x", false},
		{"memcached", &Server{}, "127.0.0.1:11211", "x", false},
		{"own rule", &Server{RefusePort: func(p uint16) bool { return p < 1024 }}, "203.0.113.5:11211", "x", true},
		{"own rule refuses", &Server{RefusePort: func(p uint16) bool { return p < 1024 }}, "203.0.113.5:1023", "x", false},
		{"own rule panics", &Server{RefusePort: func(uint16) bool { panic("no") }}, "203.0.113.5:1023", "x", false},
		{"port 0 with own rule", &Server{RefusePort: func(uint16) bool { return false }}, "203.0.113.5:0", "x", false},
		{"ourselves", &Server{}, "192.0.2.1:8100", "x", false},
		{"our port elsewhere", &Server{}, "192.0.2.2:8100", "x", true},
		{"multicast", &Server{}, "224.0.0.1:40000", "x", false},
		{"unspecified", &Server{}, "0.0.0.0:40000", "x", false},
		{"QUIC", &Server{}, far, quic, false},
		{"QUIC from nearby", &Server{}, near, quic, true},
		{"QUIC of no version", &Server{}, far, quic[:4] + "\x02" + quic[5:], true},
		{"like QUIC, but short", &Server{}, far, quic[:1199], true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := &hub{}
			inBubble(t, tt.s, h, func(t *testing.T, conn *fakeConn) {
				conn.push(tt.addr, tt.data)
				synctest.Wait()
				st := tt.s.Stats()
				if got := len(h.events()) == 2; got != tt.want || st.Refused == 1 != !tt.want {
					t.Errorf("it is a client: %t, want %t; %+v", got, tt.want, st)
				}
			})
		})
	}
}

// A client that ends leaves its successor no more than the rest of its budget.
func TestAmplificationAcrossEnds(t *testing.T) {
	h, s := &hub{}, &Server{}
	in := 0
	h.message = func(c *hubClient, m string) error {
		for range 10 {
			_ = c.Send([]byte(m), handlers.Auto)
		}
		if m != "" {
			_ = c.End()
		}
		return nil
	}
	h.leave = func(*hubClient, error) { time.Sleep(20 * time.Millisecond) }
	inBubble(t, s, h, func(t *testing.T, conn *fakeConn) {
		for i := range 50 {
			msg := strings.Repeat("x", i%7)
			in += len(msg)
			conn.push(far, msg)
			if i%3 == 0 {
				time.Sleep(time.Duration(i) * time.Millisecond)
			}
		}
		time.Sleep(time.Minute)
		out := 0
		sent := conn.sent()
		for _, d := range sent {
			_, data, _ := strings.Cut(d, " ")
			out += len(data)
		}
		if out > 3*in || len(sent) > 3*50 || out < in {
			t.Errorf("%d bytes in 50 datagrams came, and %d in %d went out", in, out, len(sent))
		}
	})
}
