package portluck

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/portluck/portluck/testdata/need"
)

// longHeader returns a PROXY header of version 2 for a TCP client, with n bytes after the
// addresses.
func longHeader(n int) string {
	size := binary.BigEndian.AppendUint16(nil, uint16(12+n))
	return proxyV2 + "\x21\x11" + string(size) + "\xc0\x00\x02\x07\xc0\x00\x02\x01\x03\xe8\x00\x50" + strings.Repeat("v", n)
}

// A PROXY header may have any length and may come in any pieces. What follows it is served.
func TestLongProxyHeaders(t *testing.T) {
	peekedAndRead(t, func(t *testing.T, serve func(*testing.T, *Server) string) {
		hub, e := record(nil)
		hub.OnConnect = nil
		hub.OnDisconnect = nil
		hub.OnMessage = func(m Message, w *Writer, c *Client) { _ = w.Send(TextMessage(c.Remote().String() + " " + m.String())) }
		addr := serve(t, &Server{Hub: hub, ProxyFrom: fromLoopback})
		for _, n := range []int{0, 1, 3000, 4096, 16 << 10, 40_000, 0xffff - 12} {
			for _, piece := range []int{1 << 20, 10_000, 100} {
				c := dial(t, addr)
				all := longHeader(n) + "{}\n"
				for at := 0; at < len(all); at += piece {
					send(t, c, all[at:min(at+piece, len(all))])
				}
				expect(t, c, "192.0.2.7:1000 {}\n")
				c.Close()
			}
		}
		if got := e.all(); len(got) > 0 {
			t.Errorf("events %q", got)
		}
		c := dial(t, addr)
		send(t, c, longHeader(50_000)[:30_000])
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		expectEnd(t, c)
		e.wantError(t, ErrProxy.Error())
	})
}

// ProxyUnix means every client of a Unix socket, and no other.
func TestProxyOverAUnixSocket(t *testing.T) {
	hub := &Hub{OnMessage: func(m Message, w *Writer, c *Client) { _ = w.Send(TextMessage(c.Remote().String() + " " + m.String())) }}
	for _, hide := range []bool{false, true} {
		t.Run(fmt.Sprint(hide), func(t *testing.T) {
			s := &Server{Hub: hub, ProxyFrom: []netip.Prefix{ProxyUnix}}
			var l net.Listener = must(Listen("unix:" + filepath.Join(t.TempDir(), "s")))[0]
			path := l.Addr().String()
			if hide {
				l = hiding{l}
			}
			serveOn(t, s, l)
			for send1, want := range map[string]string{proxyHead + "{}\n": "192.0.2.7:1000 {}\n", longHeader(9) + "{}\n": "192.0.2.7:1000 {}\n", "{}\n": ""} {
				c := must(net.Dial("unix", path))
				send(t, c, send1)
				expect(t, c, want)
				if want == "" {
					expectEnd(t, c)
				}
				c.Close()
			}
			overTCP := listen(t)
			serveOn(t, s, overTCP)
			c := dial(t, overTCP.Addr().String())
			send(t, c, "{}\n")
			expect(t, c, c.LocalAddr().String()+" {}\n")
		})
	}
}

// The zone of a link-local peer is kept.
func TestZoneOfAPeer(t *testing.T) {
	t.Parallel()
	need.Program(t, "ip")
	got := make(chan netip.AddrPort, 1)
	s := &Server{Hub: &Hub{
		OnConnect: func(_ *Writer, c *Client) { got <- c.Remote() }, OnMessage: func(Message, *Writer, *Client) {},
	}}
	listen(t) // package net asks only once what the machine has: not inside the namespace
	inNamespace(t, "127.0.0.1/8", func() error {
		if out, err := exec.Command("ip", "addr", "add", "fe80::1/64", "dev", "lo", "nodad").CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		all, err := Listen(":0")
		if err != nil {
			return err
		}
		serveOn(t, s, all[0])
		var c net.Conn
		eventually(t, "the address has its route", func() bool {
			c, err = net.Dial("tcp", fmt.Sprintf("[fe80::1%%lo]:%d", all[0].Addr().(*net.TCPAddr).Port))
			return !errors.Is(err, syscall.ENETUNREACH)
		})
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write([]byte("{}\n")); err != nil {
			return err
		}
		if got, want := (<-got).String(), c.LocalAddr().String(); got != want {
			t.Errorf("Remote() = %s, want %s", got, want)
		}
		return nil
	})
}
