package mesh_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers/mesh"
	"github.com/portluck/portluck/matchers"
	"github.com/portluck/portluck/portluck"
)

// patience bounds how long a test waits for an event.
const patience = time.Minute

// shared is a portluck server that a node shares.
type shared struct {
	addr  string
	hub   *portluck.Hub
	node  *mesh.Node
	plane *mesh.Backplane
}

// share makes one. With a key the nodes use TLS.
func share(t *testing.T, id string, key []byte, others mesh.Discovery) *shared {
	t.Helper()
	s := &shared{hub: &portluck.Hub{}, plane: &mesh.Backplane{}}
	s.hub.OnConnect = func(_ *portluck.Writer, c *portluck.Client) { _ = s.hub.Room("lobby").Join(c) }
	s.hub.OnMessage = func(m portluck.Message, _ *portluck.Writer, _ *portluck.Client) { s.hub.Room("lobby").Publish(m) }
	s.node = &mesh.Node{Name: "x", ID: id, Key: key, Hello: key == nil, OnConnection: s.plane.Serve, Discovery: others}
	srv := &portluck.Server{Hub: s.hub}
	if key != nil {
		srv.Handle("mesh", matchers.ALPN(mesh.ALPN), s.node)
	} else {
		srv.Handle("mesh", matchers.Prefix(mesh.HelloPrefix), s.node)
	}
	if err := s.hub.Carry(s.plane); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }() // ends with the server
	if err := s.node.Join(netip.MustParseAddrPort(s.addr)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		srv.Shutdown(t.Context()) // the context has ended, so it closes at once
		s.node.Close()
		s.plane.Close()
		<-served
	})
	return s
}

// The mesh, HTTP and raw clients share one port. A room spans both servers.
func TestSharedPort(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	for _, key := range [][]byte{nil, key} {
		a := share(t, "0B", key, mesh.Static{})
		b := share(t, "0A", key, mesh.Static{{ID: "0B", Addrs: []netip.AddrPort{netip.MustParseAddrPort(a.addr)}}})
		for late := time.Now().Add(patience); a.plane.Stats().Nodes+b.plane.Stats().Nodes < 2; time.Sleep(time.Millisecond) {
			if time.Now().After(late) {
				t.Fatal("they have not met")
			}
		}
		nc, err := net.Dial("tcp", a.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		_ = nc.SetDeadline(time.Now().Add(patience))
		lines := bufio.NewReader(nc)
		fmt.Fprintln(nc, "it is me")
		if line, err := lines.ReadString('\n'); line != "it is me\n" {
			t.Fatalf("got %q, %v", line, err)
		}
		resp, err := http.Post("http://"+b.addr+"/", "text/plain", strings.NewReader("from the other server"))
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if line, err := lines.ReadString('\n'); line != "from the other server\n" {
			t.Errorf("got %q, %v", line, err)
		}
		if got := b.node.Connections()[0].Peer(); got != "0B" {
			t.Errorf("Peer() = %q", got)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// A node that has not joined, or has left, refuses the connections of the port. On a shared port a
// matcher must recognise the mesh.
func TestJoinMistakes(t *testing.T) {
	at := netip.MustParseAddrPort("127.0.0.1:1")
	n := &mesh.Node{Name: "x"}
	if err := n.Join(at); err == nil || !strings.Contains(err.Error(), "needs Hello") {
		t.Errorf("Join() = %v", err)
	}
	n = &mesh.Node{Name: "x", Hello: true, Discovery: mesh.Static{}}
	failed := make(chan error, 2)
	hub := &portluck.Hub{OnError: func(_ *portluck.Info, err error) { failed <- err }}
	srv := &portluck.Server{Hub: hub}
	srv.Handle("mesh", matchers.Prefix(mesh.HelloPrefix), n)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }() // ends with the server
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	fmt.Fprint(nc, mesh.HelloPrefix)
	select {
	case err := <-failed:
		if !strings.Contains(err.Error(), "has not joined") {
			t.Errorf("OnError got %v", err)
		}
	case <-time.After(patience):
		t.Error("OnError got nothing")
	}
	if err := n.Join(at); err != nil {
		t.Error(err)
	}
	if err := n.Join(at); err == nil {
		t.Error("the second Join gives no error")
	}
	n.Close()
	srv.Close()
	<-served
}
