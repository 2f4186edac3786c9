package portluck

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/portluck/portluck/handlers/raw"
	"github.com/portluck/portluck/handlers/udp"
	"github.com/portluck/portluck/matchers"
)

// A program that listens on port 0 learns the port, over TCP and UDP, before the first client is
// served. Addrs has the addresses until the server ends.
func TestOnListening(t *testing.T) {
	t.Parallel()
	heard := make(chan net.Addr, 8)
	s := &Server{Addr: "127.0.0.1:0", Packets: &udp.Server{}, Hub: &Hub{OnMessage: func(m Message, w *Writer, _ *Client) { echo(m, w) }}, OnListening: func(a net.Addr) { heard <- a }}
	if got := s.Addrs(); got != nil {
		t.Errorf("Addrs() = %v before Serve", got)
	}
	done := make(chan error, 1)
	go func() { done <- s.ListenAndServe() }() // ends with Close
	var all []string
	for range 2 {
		a := <-heard
		all = append(all, a.Network()+" "+a.String())
	}
	slices.Sort(all)
	_, port, _ := net.SplitHostPort(all[0])
	if want := []string{"tcp 127.0.0.1:" + port, "udp 127.0.0.1:" + port}; !slices.Equal(all, want) || port == "0" {
		t.Errorf("OnListening got %q, want %q", all, want)
	}
	var now []string
	for _, a := range s.Addrs() {
		now = append(now, a.Network()+" "+a.String())
	}
	slices.Sort(now)
	if !slices.Equal(now, all) {
		t.Errorf("Addrs() = %q, want %q", now, all)
	}
	if got := talk(t, "127.0.0.1:"+port, "a\n"); got != "a\n" {
		t.Errorf("echo %q", got)
	}
	s.Close()
	if err := <-done; !errors.Is(err, ErrServerClosed) {
		t.Errorf("ListenAndServe() = %v", err)
	}
	if got := s.Addrs(); got != nil {
		t.Errorf("Addrs() = %v after Close", got)
	}
}

// The listener of a protocol gets the TLS clients that choose it, after the handshake, and closes
// with the server.
func TestListenALPN(t *testing.T) {
	t.Parallel()
	s := &Server{TLSConfig: withTLS()}
	l := s.ListenALPN("ours/1")
	addr := serve(t, s)
	served := make(chan error, 1)
	go func() { // ends with the client
		served <- func() error {
			nc, err := l.Accept()
			if err != nil {
				return err
			}
			defer nc.Close()
			state := nc.(interface{ ConnectionState() tls.ConnectionState }).ConnectionState()
			_, err = fmt.Fprintf(nc, "%t %s", state.HandshakeComplete, state.NegotiatedProtocol)
			return err
		}()
	}()
	got, err := io.ReadAll(dialTLS(t, addr, "ours/1"))
	if want := "true ours/1"; string(got) != want || err != nil {
		t.Errorf("read %q, %v, want %q", got, err, want)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if l.Addr().String() != "ours/1" {
		t.Errorf("Addr() = %v", l.Addr())
	}
	s.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept() after Close = %v", err)
	}
}

// The clients of a program's route have the route's name as protocol and scheme, also inside TLS.
func TestOwnRouteNamesItsProtocol(t *testing.T) {
	t.Parallel()
	hub, e := record(nil)
	s := &Server{Hub: hub, TLSConfig: withTLS()}
	s.Handle("telemetry", matchers.Prefix("T"), &raw.Handler{})
	addr := serve(t, s)
	talk(t, addr, "T1\n")
	e.want(t, "connect telemetry", "message T1", "disconnect telemetry")
	c := dialTLS(t, addr)
	send(t, c, "T2\n")
	e.waitFor(5)
	c.Close()
	e.want(t, "connect telemetry", "message T1", "disconnect telemetry", "connect telemetry", "message T2", "disconnect telemetry")
}
