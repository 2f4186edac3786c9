package portluck

import (
	"net"
	"testing"
	"time"

	"github.com/portluck/portluck/matchers"
	"golang.org/x/sys/unix"
)

// What is set once on the listening socket holds for every connection.
func TestConnectionsInheritOptions(t *testing.T) {
	options := []struct {
		name        string
		level, opt  int
		want, value int
	}{
		{name: "TCP_NODELAY", level: unix.IPPROTO_TCP, opt: unix.TCP_NODELAY, want: 1},
		{name: "TCP_NOTSENT_LOWAT", level: unix.IPPROTO_TCP, opt: unix.TCP_NOTSENT_LOWAT, want: notSent},
		{name: "TCP_USER_TIMEOUT", level: unix.IPPROTO_TCP, opt: unix.TCP_USER_TIMEOUT, want: 90_000},
		{name: "SO_KEEPALIVE", level: unix.SOL_SOCKET, opt: unix.SO_KEEPALIVE, want: 1},
		{name: "TCP_KEEPIDLE", level: unix.IPPROTO_TCP, opt: unix.TCP_KEEPIDLE, want: 15},
	}
	s := &Server{Timeout: 90 * time.Second}
	done := make(chan struct{})
	s.HandleFunc("look", matchers.Prefix("LOOK"), func(c net.Conn) {
		defer close(done)
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Error(err)
			return
		}
		_ = raw.Control(func(fd uintptr) {
			for i, o := range options {
				options[i].value, _ = unix.GetsockoptInt(int(fd), o.level, o.opt)
			}
		})
	})
	s.Hub = &Hub{OnMessage: func(m Message, w *Writer, _ *Client) { echo(m, w) }}
	all, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, s, all[0])
	addr := all[0].Addr().String()
	first := dial(t, addr) // it may have come before Serve
	send(t, first, "x\n")
	expect(t, first, "x\n")
	send(t, dial(t, addr), "LOOK")
	<-done
	for _, o := range options {
		if o.value != o.want {
			t.Errorf("%s = %d, want %d", o.name, o.value, o.want)
		}
	}
}
