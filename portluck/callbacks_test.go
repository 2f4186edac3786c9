package portluck

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/udp"
	"github.com/portluck/portluck/matchers"
	"github.com/portluck/portluck/portluck/hub"
	"github.com/portluck/portluck/testdata/funcs"
	"github.com/rs/zerolog"
)

// A callback is a func or an interface that the program provides.
type callback struct {
	name string // Type.Field, if it is a field
	// set installs a callback that calls f the first time.
	set func(s *Server, f func())
	// raise causes the call, by a client of addr or of the hub.
	raise func(t *testing.T, s *Server, addr string)
	// free means that the callback runs in a goroutine of the program. A shutdown does not wait for
	// that goroutine unless waited is set.
	free, waited bool
}

// say returns a raise that makes a client send text and ignores what follows.
func say(text string) func(t *testing.T, s *Server, addr string) {
	return func(t *testing.T, _ *Server, addr string) {
		c := dial(t, addr)
		_, _ = io.WriteString(c, text)
		_ = c.CloseWrite()
	}
}

// stuck is the stream of a client that accepts nothing.
type stuck struct{ handlers.Stream }

func (stuck) TrySend([]byte, Kind) error { return handlers.ErrSlow }
func (stuck) Destroy()                   {}

// lossy is a backplane that loses a message at each call of Publish.
type lossy struct {
	handlers.Backplane
	sub handlers.Subscriber
}

func (l *lossy) Subscribe(s handlers.Subscriber) error {
	l.sub = s
	return nil
}

func (l *lossy) Publish(string, Message) error {
	l.sub.Gap("b", 1, 2)
	return nil
}

var get = "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"

var callbacks = []callback{
	{name: "Server.HubOf", raise: say("x\n"), set: func(s *Server, f func()) {
		s.HubOf = func(*Handshake) *Hub { f(); return nil }
	}},
	{name: "Hub.OnHandshake", raise: say("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx"), set: func(s *Server, f func()) {
		s.Hub.OnHandshake = func(context.Context, *Handshake) error { f(); return nil }
	}},
	{name: "Hub.OnConnect", raise: say("x\n"), set: func(s *Server, f func()) {
		s.Hub.OnConnect = func(*Writer, *Client) { f() }
	}},
	{name: "Hub.OnMessage", raise: say("x\n"), set: func(s *Server, f func()) {
		s.Hub.OnMessage = func(_ Message, w *Writer, _ *Client) { f(); _ = w.Send(TextMessage("ok")) }
	}},
	{name: "Hub.OnDisconnect", raise: say("x\n"), set: func(s *Server, f func()) {
		s.Hub.OnDisconnect = func(*Client, error) { f() }
	}},
	{name: "Hub.OnError", raise: say("GET nonsense\r\n\r\n"), set: func(s *Server, f func()) {
		s.Hub.OnError = func(*Info, error) { f() }
		s.Handle("bad", matchers.Prefix("GET nonsense"), handlers.HandlerFunc(func(c handlers.Conn, p handlers.Port) {
			c.Close()
			p.Fail(c.Info(), handlers.ErrProtocol)
		}))
	}},
	{name: "Hub.RoomOptions", free: true, set: func(s *Server, f func()) {
		s.Hub.RoomOptions = func(string) RoomOptions { f(); return RoomOptions{} }
	}, raise: func(_ *testing.T, s *Server, _ string) { s.Hub.Broadcast(TextMessage("x")) }},
	{name: "Hub.OnGap", free: true, set: func(s *Server, f func()) {
		s.Hub.OnGap = func(string, uint64) { f() }
	}, raise: func(_ *testing.T, s *Server, _ string) {
		_ = s.Hub.Carry(&lossy{}) // the first time
		s.Hub.Room("x").Publish(TextMessage("x"))
	}},
	{name: "RoomOptions.OnSlow", free: true, waited: true, set: func(s *Server, f func()) {
		s.Hub.RoomOptions = func(string) RoomOptions {
			return RoomOptions{Ring: 1, Policy: SkipToLatest, OnSlow: func(*Room, *Client, uint64) { f() }}
		}
	}, raise: func(_ *testing.T, s *Server, _ string) {
		r := s.Hub.Room("x")
		c := must(s.port.Connect(&Info{Protocol: "tcp"}, stuck{}))
		_ = r.Join(c.(*hub.Session).Client())
		for range 3 {
			r.Publish(TextMessage("x"))
		}
	}},
	{name: "RoomOptions.KeyOf", free: true, set: func(s *Server, f func()) {
		s.Hub.RoomOptions = func(string) RoomOptions {
			return RoomOptions{Policy: ByKey, KeyOf: func(Message) string { f(); return "" }}
		}
	}, raise: func(_ *testing.T, s *Server, _ string) { s.Hub.Broadcast(TextMessage("x")) }},
	{name: "RoomOptions.OnPresence", raise: say("x\n"), set: func(s *Server, f func()) {
		s.Hub.RoomOptions = func(string) RoomOptions { return RoomOptions{OnPresence: func(*Room, []Member, []Member) { f() }} }
		s.Hub.OnConnect = func(_ *Writer, c *Client) { _ = s.Hub.Room("x").Join(c) }
	}},
	{name: "PublishOptions.To", free: true, set: func(s *Server, f func()) {
		s.Hub.OnGap = func(string, uint64) { f() } // called by raise
	}, raise: func(_ *testing.T, s *Server, _ string) {
		r := s.Hub.Room("x")
		c := must(s.port.Connect(&Info{Protocol: "tcp"}, stuck{}))
		_ = r.Join(c.(*hub.Session).Client())
		_, _ = r.PublishContext(context.Background(), TextMessage("x"), &PublishOptions{To: func(*Client) bool {
			s.Hub.OnGap("", 0)
			return true
		}})
	}},
	{name: "Server.OnListening", free: true, set: func(s *Server, f func()) {
		var listening atomic.Int32
		s.OnListening = func(net.Addr) {
			if listening.Add(1) > 1 { // raise is for the second
				f()
			}
		}
	}, raise: func(t *testing.T, s *Server, _ string) {
		serveOn(t, s, must(net.Listen("tcp", "127.0.0.1:0")))
	}},
	{name: "Server.OnVerdict", raise: say("x\n"), set: func(s *Server, f func()) {
		s.OnVerdict = func(Verdict) { f() }
	}},
	{name: "OnVerdict of datagrams", raise: sayUDP, set: func(s *Server, f func()) {
		s.OnVerdict = func(Verdict) { f() }
	}},
	{name: "Server.RoomOf", raise: say(get), set: func(s *Server, f func()) {
		s.RoomOf = func(*http.Request) (string, bool) { f(); return "", false }
	}},
	{name: "Hub.OnJoin", raise: say(get), set: func(s *Server, f func()) {
		s.RoomOf = func(*http.Request) (string, bool) { return "x", true }
		s.Hub.OnJoin = func(*Room, *Client) error { f(); return nil }
	}},
	{name: "a matcher", raise: say("!x"), set: func(s *Server, f func()) {
		s.HandleFunc("first", matchers.MatcherFunc(func(matchers.Hello) matchers.Verdict { f(); return matchers.No }), func(net.Conn) {})
	}},
	{name: "HandleFunc", raise: say("!x"), set: func(s *Server, f func()) {
		s.HandleFunc("mine", matchers.Prefix("!"), func(c net.Conn) { defer c.Close(); f() })
	}},
	{name: "a Handler", raise: say("!x"), set: func(s *Server, f func()) {
		s.Handle("mine", matchers.Prefix("!"), handlers.HandlerFunc(func(c handlers.Conn, _ handlers.Port) { defer c.Close(); f() }))
	}},
	{name: "a mounted handler", raise: say(get), set: func(s *Server, f func()) {
		s.Mount("/", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { f() }))
	}},
	{name: "Pages", raise: say(get), set: func(s *Server, f func()) {
		s.Pages = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { f() })
	}},
	{name: "OnMessage of HTTP", raise: say("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx"), set: func(s *Server, f func()) {
		s.Hub.OnMessage = func(Message, *Writer, *Client) { f() }
	}},
	{name: "OnMessage of datagrams", raise: sayUDP, set: func(s *Server, f func()) {
		s.Hub.OnMessage = func(Message, *Writer, *Client) { f() }
	}},
	{name: "OnConnect of datagrams", raise: sayUDP, set: func(s *Server, f func()) {
		s.Hub.OnConnect = func(*Writer, *Client) { f() }
	}},
	{name: "GetCertificate", raise: sayTLS, set: func(s *Server, f func()) {
		s.TLSConfig = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			f()
			return nil, errors.New("no certificate")
		}}
	}},
}

func sayUDP(t *testing.T, _ *Server, addr string) { send(t, dialUDP(t, addr), "x") }

func sayTLS(t *testing.T, _ *Server, addr string) {
	c := tls.Client(dial(t, addr), &tls.Config{InsecureSkipVerify: true})
	go func() { _ = c.Handshake() }() // ends with the connection
}

// A raised is a server after one of its callbacks has ended.
type raised struct {
	*Server
	addr string
	err  error // of the callback
	log  *logBuffer
}

// eachCallback calls do once in every callback, with both drivers, and then rest.
func eachCallback(t *testing.T, do func(s *Server) error, rest func(t *testing.T, c callback, r raised)) {
	t.Parallel()
	for _, c := range callbacks {
		for _, goroutines := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, goroutines %t", c.name, goroutines), func(t *testing.T) {
				t.Parallel()
				rest(t, c, raise(t, c, goroutines, do))
			})
		}
	}
}

// raise calls do once in the callback c.
func raise(t *testing.T, c callback, goroutines bool, do func(s *Server) error) raised {
	t.Helper()
	out := &logBuffer{}
	logger := zerolog.New(out)
	s := &Server{Hub: &Hub{}, Goroutines: goroutines, SniffTimeout: patience, Packets: &udp.Server{}, Addr: "127.0.0.1:0", Logger: &logger}
	var called atomic.Bool
	done := make(chan error, 1)
	c.set(s, func() {
		if called.CompareAndSwap(false, true) {
			err := error(nil)
			defer func() { done <- err }() // after a panic too
			err = do(s)
		}
	})
	all, packets, err := s.listen(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 2)
	go func() { served <- s.Serve(all[0]) }()
	go func() { served <- s.ServePacket(packets[0], s.Packets) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = s.Shutdown(ctx)
		for range 2 {
			if err := <-served; !errors.Is(err, ErrServerClosed) {
				t.Errorf("Serve = %v", err)
			}
		}
	})
	r := raised{Server: s, addr: all[0].Addr().String(), log: out}
	if _, err := s.start(); err != nil { // a callback that needs no client may come before Serve
		t.Fatal(err)
	}
	c.raise(t, s, r.addr)
	select {
	case r.err = <-done:
	case <-time.After(patience):
		t.Fatal("it does not return")
	}
	return r
}

// A panic in a callback ends one connection, or one call. The next client is served, and nothing is
// left of the first.
func TestCallbacksPanic(t *testing.T) {
	var names []string
	for _, c := range callbacks {
		if strings.Contains(c.name, ".") {
			names = append(names, c.name)
		}
	}
	funcs.CoveredIn(t, []string{".", "hub"}, names...)
	eachCallback(t, func(*Server) error { panic("of the program") }, func(t *testing.T, c callback, r raised) {
		eventually(t, "the connection is gone", func() bool { return r.Stats().Open == 0 })
		nc := dial(t, r.addr)
		send(t, nc, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
		expect(t, nc, "HTTP/1.1 200 OK\r\n")
		c.raise(t, r.Server, r.addr)
	})
}

// Close returns in every callback.
func TestCallbacksClose(t *testing.T) {
	eachCallback(t, (*Server).Close, func(t *testing.T, _ callback, r raised) {
		eventually(t, "all is closed", func() bool { return r.Stats().Open == 0 })
	})
}

// Shutdown in a callback waits for that callback, and so returns the error of its ctx.
func TestCallbacksShutdown(t *testing.T) {
	eachCallback(t, func(s *Server) error {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		return s.Shutdown(ctx)
	}, func(t *testing.T, c callback, r raised) {
		if want := context.DeadlineExceeded; !errors.Is(r.err, want) && (r.err != nil || !c.free || c.waited) {
			t.Errorf("Shutdown = %v, want %v", r.err, want)
		}
		eventually(t, "all is closed", func() bool { return r.Stats().Open == 0 })
	})
}
