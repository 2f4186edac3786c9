package udp

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

// The control messages for addresses are parsed, and made, as the system wants them.
func TestControlMessages(t *testing.T) {
	for _, addr := range []string{"127.0.0.2", "2001:db8::1"} {
		a := netip.MustParseAddr(addr)
		oob := source(a)
		if len(oob) == 0 {
			t.Fatalf("no control message for %v", a)
		}
		// In IPv6 a sent message has the address in the same place as a received one.
		if got := destination(oob); a.Is6() && got != a {
			t.Errorf("destination(source(%v)) = %v", a, got)
		}
		if len(oob) > oobSpace {
			t.Errorf("%d bytes of control message", len(oob))
		}
	}
	base := &path{socket: &socket{}, local: netip.MustParseAddrPort("[::]:8100")}
	p := paths{base: base}
	one, two := p.of(source(netip.MustParseAddr("2001:db8::1"))), p.of(source(netip.MustParseAddr("2001:db8::2")))
	if one == base || two == one || p.of(source(netip.MustParseAddr("2001:db8::1"))) != one || p.of(nil) != base {
		t.Error("the paths of two addresses are not told apart")
	}
	if got := p.of([]byte("garbage")); got != base {
		t.Errorf("the path of garbage is that of %v", got.local)
	}
	for i := range 3 * maxPaths {
		p.of(source(netip.AddrFrom16([16]byte{0x20, 1, 14: byte(i >> 8), 15: byte(i)})))
	}
	if len(p.byLocal) > maxPaths || len(p.byOOB) > 2*maxPaths {
		t.Errorf("%d paths, %d control messages are kept", len(p.byLocal), len(p.byOOB))
	}
}

// FuzzControl checks that no control message of the system makes parsing fail.
func FuzzControl(f *testing.F) {
	f.Add(source(netip.MustParseAddr("127.0.0.1")))
	f.Add(source(netip.MustParseAddr("2001:db8::1")))
	f.Add(slices.Concat(source(netip.MustParseAddr("127.0.0.1")), source(netip.MustParseAddr("::1"))))
	f.Fuzz(func(t *testing.T, oob []byte) {
		if a := destination(oob); a.IsValid() && a.Is4In6() {
			t.Errorf("destination(%x) = %v is mapped", oob, a)
		}
	})
}

// FuzzReceive checks that each datagram becomes one message or a token, and nothing else.
func FuzzReceive(f *testing.F) {
	f.Add([]byte("hello\n"), uint16(40000), true)
	f.Add([]byte("0123456789abcdef\r\nx"), uint16(53), false)
	f.Add(append([]byte{0xc3, 0, 0, 0, 1}, make([]byte, 1195)...), uint16(1), true)
	f.Fuzz(func(t *testing.T, data []byte, port uint16, lines bool) {
		s := &Server{Lines: lines, Timeout: -1, RefusePort: func(uint16) bool { return false }}
		h := &hub{}
		s.init()
		k := newSocket(s, newFakeConn(), h)
		from := netip.AddrPortFrom(netip.MustParseAddr("203.0.113.5"), port)
		k.take([]arrival{{buf: data, n: len(data), from: from}})
		k.work(&runner{})
		want := data
		if lines {
			want = trimLine(want)
		}
		refused := port == 0 || isQUIC(data)
		if got := h.events(); refused && len(got) > 0 || !refused && (len(got) != 2 || got[1] != fmt.Sprintf("message %v %s", from, want)) {
			t.Errorf("%x from port %d makes %q", data, port, got)
		}
		if len(data) > 1<<16-1 {
			return
		}
		if s.backlog != 0 || s.table.len() > 1 {
			t.Errorf("%d bytes and %d clients are kept", s.backlog, s.table.len())
		}
	})
}
