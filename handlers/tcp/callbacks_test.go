package tcp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/portluck/portluck/testdata/funcs"
)

// callback is a func of the program that a server calls.
type callback struct {
	name string // Type.Field, if it is a field
	// set makes the callback call f, on a server that echoes.
	set func(v *Server, f func())
	// raise makes the server call the callback. nc is a client that reads until the end.
	raise func(t *testing.T, v *Server, nc *net.TCPConn)
}

func quiet(*testing.T, *Server, *net.TCPConn) {}

func sayBye(_ *testing.T, _ *Server, nc *net.TCPConn) {
	_, _ = io.WriteString(nc, "x")
	_ = nc.CloseWrite()
}

var callbacks = []callback{
	{name: "Server.OnConnection", raise: quiet, set: func(v *Server, f func()) {
		v.OnConnection = func(*Stream) { f() }
	}},
	{name: "Server.OnClose", raise: func(_ *testing.T, v *Server, _ *net.TCPConn) { _ = v.Close() }, set: func(v *Server, f func()) {
		v.OnClose = f
	}},
	{name: "Server.OnError", raise: quiet, set: func(v *Server, f func()) {
		v.OnError = func(error) { f() }
	}},
	{name: "Events.OnConnect", raise: quiet, set: func(v *Server, f func()) {
		v.Events.OnConnect = func(*Stream) { f() }
	}},
	{name: "Events.OnSecure", set: func(v *Server, f func()) {
		var once atomic.Bool
		v.Events.OnConnect = func(s *Stream) {
			if once.CompareAndSwap(false, true) {
				_ = s.SetSecure(serverConfig(false))
			}
		}
		v.Events.OnSecure = func(*Stream) { f() }
	}, raise: func(_ *testing.T, _ *Server, nc *net.TCPConn) {
		_ = tls.Client(nc, &tls.Config{InsecureSkipVerify: true}).Handshake()
	}},
	{name: "Events.OnData", raise: sayBye, set: func(v *Server, f func()) {
		v.Events.OnData = func(s *Stream, p []byte) { f(); _, _ = s.Write(p) }
	}},
	{name: "Events.OnEnd", raise: sayBye, set: func(v *Server, f func()) {
		v.Events.OnEnd = func(*Stream) { f() }
	}},
	{name: "Events.OnTimeout", raise: quiet, set: func(v *Server, f func()) {
		v.Events.OnConnect = func(s *Stream) { s.SetTimeout(time.Millisecond) }
		v.Events.OnTimeout = func(*Stream) { f() }
	}},
	{name: "Events.OnDrain", raise: quiet, set: func(v *Server, f func()) {
		var once atomic.Bool
		v.Events.OnConnect = func(s *Stream) {
			for once.CompareAndSwap(false, true) {
				writeUntilQueued(s)
			}
		}
		v.Events.OnDrain = func(*Stream) { f() }
	}},
	{name: "Events.OnError", raise: quiet, set: func(v *Server, f func()) {
		var once atomic.Bool
		v.Events.OnConnect = func(*Stream) {
			if once.CompareAndSwap(false, true) {
				panic("for OnError")
			}
		}
		v.Events.OnError = func(*Stream, error) { f() }
	}},
	{name: "Events.OnClose", raise: sayBye, set: func(v *Server, f func()) {
		v.Events.OnClose = func(*Stream, bool) { f() }
	}},
}

// writeUntilQueued writes until bytes are queued, as the peer may read as fast at first.
func writeUntilQueued(s *Stream) {
	p := make([]byte, 4<<20)
	for flushed := true; flushed; {
		flushed, _ = s.Write(p)
	}
}

// scarce is a listener that has no descriptor for the first connection.
type scarce struct {
	net.Listener
	once atomic.Bool
}

func (l *scarce) Accept() (net.Conn, error) {
	if l.once.CompareAndSwap(false, true) {
		return nil, syscall.ECONNABORTED
	}
	return l.Listener.Accept()
}

// dialScarce connects to v, which accepts only after that.
func dialScarce(t *testing.T, v *Server) *net.TCPConn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nc := plainDial(t, l.Addr().String())
	if err := v.ListenOn(&scarce{Listener: l}); err != nil {
		t.Fatal(err)
	}
	return nc
}

// eachCallback calls do once in each callback, on both drivers, and then rest.
func eachCallback(t *testing.T, do func(v *Server) error, rest func(t *testing.T, v *Server, err error)) {
	for _, c := range callbacks {
		for _, goroutines := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, goroutines %t", c.name, goroutines), func(t *testing.T) {
				t.Parallel()
				v := &Server{Goroutines: goroutines, Events: &Events{
					OnData: func(s *Stream, p []byte) { _, _ = s.Write(p) },
				}}
				var called atomic.Bool
				done := make(chan error, 1)
				c.set(v, func() {
					if called.CompareAndSwap(false, true) {
						err := error(nil)
						defer func() { done <- err }() // also after a panic
						err = do(v)
					}
				})
				nc := dialScarce(t, v)
				t.Cleanup(func() { shutdown(t, v) })
				go func() { // ends with the connection
					c.raise(t, v, nc)
					_, _ = io.Copy(io.Discard, nc)
					nc.Close()
				}()
				select {
				case err := <-done:
					rest(t, v, err)
				case <-time.After(soon):
					t.Fatal("it does not return")
				}
				nc.Close()
				eventually(t, "the stream is gone", func() bool { return v.Connections() == 0 })
			})
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for late := time.Now().Add(soon); !ok(); <-time.After(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// works fails unless v serves another client and shuts down.
func works(t *testing.T, v *Server) {
	t.Helper()
	var nc *net.TCPConn
	if a := v.Addr(); a != nil {
		nc = plainDial(t, a.String())
	} else {
		nc = dialScarce(t, v)
	}
	mustWrite(t, nc, "hello")
	mustRead(t, nc, "hello")
	nc.Close()
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	if err := v.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown() = %v", err)
	}
}

// A panic in a callback ends only its own stream, of which nothing is left.
func TestCallbacksPanic(t *testing.T) {
	names := []string{"Stream.DialContext"} // TestDialContextPanics tests it
	for _, c := range callbacks {
		names = append(names, c.name)
	}
	funcs.Covered(t, names...)
	eachCallback(t, func(*Server) error { panic("of the program") }, func(t *testing.T, v *Server, _ error) {
		works(t, v)
	})
}

// Every callback may call Close, which returns, and Shutdown, which returns when its ctx ends.
func TestCallbacksClose(t *testing.T) {
	eachCallback(t, (*Server).Close, func(t *testing.T, _ *Server, err error) {
		if err != nil && !errors.Is(err, ErrNotListening) {
			t.Errorf("Close() = %v", err)
		}
	})
}

func TestCallbacksShutdown(t *testing.T) {
	eachCallback(t, func(v *Server) error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
		defer cancel()
		return v.Shutdown(ctx)
	}, func(t *testing.T, _ *Server, err error) {
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown() = %v", err)
		}
	})
}
