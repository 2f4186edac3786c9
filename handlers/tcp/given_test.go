package tcp

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/portluck/portluck/handlers"
)

// Dial fails if DialContext panics, and the stream can be opened again.
func TestDialContextPanics(t *testing.T) {
	for _, bad := range []func() (net.Conn, error){
		func() (net.Conn, error) { panic("of the program") },
		func() (net.Conn, error) { return nil, nil },
		func() (net.Conn, error) { a, b := net.Pipe(); b.Close(); return &nameless{Conn: a}, nil },
	} {
		d := newDiary()
		s := &Stream{Events: d.events()}
		s.DialContext = func(context.Context, string, string) (net.Conn, error) { return bad() }
		if err := s.Dial(t.Context(), "tcp", "127.0.0.1:1"); err == nil {
			t.Error("Dial() = nil")
		}
		d.has(t, "close true")
		s.DialContext = nil
		v := &Server{}
		if err := s.Dial(t.Context(), "tcp", listen(t, v)); err != nil {
			t.Errorf("the next Dial() = %v", err)
		}
		s.Destroy()
	}
}

// nameless is a connection whose RemoteAddr panics.
type nameless struct{ net.Conn }

func (*nameless) RemoteAddr() net.Addr { panic("of the program") }

// broken is a listener that panics once.
type broken struct {
	net.Listener
	accept, conn, close atomic.Bool // where to panic
}

func (l *broken) Accept() (net.Conn, error) {
	if l.accept.CompareAndSwap(true, false) {
		panic("of Accept")
	}
	nc, err := l.Listener.Accept()
	if err == nil && l.conn.CompareAndSwap(true, false) {
		nc = &nameless{nc}
	}
	return nc, err
}

func (l *broken) Close() error {
	err := l.Listener.Close()
	if l.close.Load() {
		panic("of Close")
	}
	return err
}

// A panic of a listener ends only that listener or one connection.
func TestListenerPanics(t *testing.T) {
	for _, name := range []string{"Accept", "RemoteAddr", "Close"} {
		t.Run(name, func(t *testing.T) {
			failed, closed := make(chan error, 2), make(chan struct{}, 2)
			v := &Server{
				OnError: func(err error) { failed <- err },
				Events:  &Events{OnData: func(s *Stream, p []byte) { _, _ = s.Write(p) }},
			}
			v.OnClose = func() { closed <- struct{}{} }
			inner, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			l := &broken{Listener: inner}
			map[string]*atomic.Bool{"Accept": &l.accept, "RemoteAddr": &l.conn, "Close": &l.close}[name].Store(true)
			if err := v.ListenOn(l); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { shutdown(t, v) })
			switch name {
			case "RemoteAddr":
				nc := plainDial(t, inner.Addr().String())
				if _, err := nc.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("read %v, want EOF", err)
				}
			case "Close":
				nc := plainDial(t, inner.Addr().String())
				mustWrite(t, nc, "x")
				mustRead(t, nc, "x")
				nc.Close()
				if err := v.Shutdown(t.Context()); !errors.Is(err, handlers.ErrPanic) {
					t.Errorf("Shutdown() = %v", err)
				}
				<-closed
				return
			}
			if err := <-failed; !errors.Is(err, handlers.ErrPanic) {
				t.Errorf("OnError got %v", err)
			}
			if name == "Accept" {
				<-closed
			}
			works(t, v)
		})
	}
}
