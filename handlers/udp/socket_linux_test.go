package udp

import (
	"fmt"
	"net"
	"testing"
	"time"
)

// Many datagrams are read, and written, with one system call.
func TestBatched(t *testing.T) {
	pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	c := dial(t, "udp4", pc.LocalAddr().String())
	for i := range 10 {
		if _, err := fmt.Fprint(c, i); err != nil {
			t.Fatal(err)
		}
	}
	k := newSocket(&Server{}, pc, &hub{})
	_ = pc.SetReadDeadline(time.Now().Add(generous))
	n, err := k.wire.read(k.in, false) // they are there: loopback delivers before it returns
	if n != 10 || err != nil {
		t.Fatalf("read() = %d, %v, want 10", n, err)
	}
	var out []departure
	for i := range n {
		a := &k.in[i]
		if got := string(a.buf[:a.n]); got != fmt.Sprint(i) || a.from != addrPort(c.LocalAddr()) || a.cut {
			t.Errorf("number %d is %q from %v", i, got, a.from)
		}
		out = append(out, departure{a.buf[:a.n], a.from, k.paths.of(a.oob)})
	}
	for range 4 { // more than fit into one call
		out = append(out, out[:n]...)
	}
	if n, err := k.wire.write(out, false); n != 50 || err != nil {
		t.Errorf("write() = %d, %v, want 50", n, err)
	}
	for i := range 50 {
		buf := make([]byte, 10)
		if n, err := c.Read(buf); string(buf[:n]) != fmt.Sprint(i%10) || err != nil {
			t.Fatalf("number %d comes back as %q, %v", i, buf[:n], err)
		}
	}
	if n, err := k.wire.read(k.in, true); n != 0 || err == nil {
		t.Errorf("read() = %d, %v, when nothing has come", n, err)
	}
}
