package tcp

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// The example of Node's documentation: hello, the echo, goodbye, close.
func TestStreamEcho(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		d := newDiary()
		d.do.OnConnect = func(s *Stream) { write(t, s, "hello\r\n") }
		d.do.OnData = func(s *Stream, p []byte) { write(t, s, string(p)) }
		d.do.OnEnd = func(s *Stream) {
			wantState(t, s, WriteOnly)
			write(t, s, "goodbye\r\n")
			if err := s.End(nil); err != nil {
				t.Errorf("End() = %v", err)
			}
		}
		d.do.OnClose = func(s *Stream, _ bool) { wantState(t, s, Closed) }
		var order []string
		v := &Server{Events: d.events(), OnConnection: func(s *Stream) {
			wantState(t, s, Open)
			order = append(order, d.all()...)
		}}
		nc := plainDial(t, listen(t, v))
		mustRead(t, nc, "hello\r\n")
		mustWrite(t, nc, "abc")
		mustRead(t, nc, "abc")
		nc.CloseWrite()
		if got, err := io.ReadAll(nc); string(got) != "goodbye\r\n" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		d.wants(t, "connect", "data abc", "end", "close false")
		if len(order) > 0 {
			t.Errorf("%q before OnConnection", order)
		}
	})
}

// Both ends are streams. Each gets all events, in Node's order.
func TestStreamEvents(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		server, client := newDiary(), newDiary()
		server.do.OnData = func(s *Stream, p []byte) { s.Write(p) }
		client.do.OnConnect = func(s *Stream) {
			wantState(t, s, Open)
			s.End([]byte("ping"))
			wantState(t, s, ReadOnly)
			if _, err := s.Write([]byte("x")); !errors.Is(err, handlers.ErrClosed) {
				t.Errorf("Write after End = %v, want ErrClosed", err)
			}
			if err := s.End([]byte("x")); !errors.Is(err, handlers.ErrClosed) {
				t.Errorf("End after End = %v, want ErrClosed", err)
			}
		}
		v := &Server{Events: server.events()}
		s := dial(t, client, "tcp", listen(t, v))
		client.wants(t, "connect", "data ping", "end", "close false")
		server.wants(t, "connect", "data ping", "end", "close false")
		wantState(t, s, Closed)
		if _, err := s.Write([]byte("x")); !errors.Is(err, handlers.ErrClosed) {
			t.Errorf("Write on a closed stream = %v, want ErrClosed", err)
		}
		s.Destroy()
		s.Pause()
		s.Resume()
	})
}

// A stream that cannot be opened gets OnError and then OnClose.
func TestStreamDialFails(t *testing.T) {
	lost := errors.New("no such host")
	slow := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	const free = "127.0.0.1:1" // no other test can get this port
	tests := []struct {
		name  string
		dial  func(context.Context, string, string) (net.Conn, error)
		bound time.Duration
		ctx   func() context.Context
		addr  string
		want  error
	}{
		{name: "refused", addr: free, want: syscall.ECONNREFUSED},
		{name: "no name", dial: func(context.Context, string, string) (net.Conn, error) { return nil, lost }, want: lost},
		{name: "too slow", dial: slow, bound: time.Millisecond, want: context.DeadlineExceeded},
		{name: "context ends", dial: slow, ctx: func() context.Context {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return ctx
		}, want: context.Canceled},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDiary()
			s := &Stream{DialContext: tt.dial, ConnectTimeout: tt.bound, Events: d.events()}
			d.do.OnError = func(_ *Stream, err error) {
				if !errors.Is(err, tt.want) {
					t.Errorf("OnError(%v), want %v", err, tt.want)
				}
			}
			d.do.OnClose = func(s *Stream, _ bool) { wantState(t, s, Closed) }
			ctx := t.Context()
			if tt.ctx != nil {
				ctx = tt.ctx()
			}
			err := s.Dial(ctx, "tcp", tt.addr)
			if !errors.Is(err, tt.want) {
				t.Fatalf("Dial() = %v, want %v", err, tt.want)
			}
			d.wants(t, "error "+err.Error(), "close true")
		})
	}
}

// A stream that is opening can be destroyed, and cannot be opened a second time.
func TestStreamDestroyOpening(t *testing.T) {
	d := newDiary()
	dialling := make(chan struct{})
	s := &Stream{Events: d.events(), DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		close(dialling)
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	done := make(chan error)
	go func() { done <- s.Dial(t.Context(), "tcp", "") }()
	<-dialling
	wantState(t, s, Opening)
	if err := s.Dial(t.Context(), "tcp", ""); !errors.Is(err, ErrOpen) {
		t.Errorf("a second Dial = %v, want ErrOpen", err)
	}
	s.Destroy()
	s.Destroy()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Dial() = %v, want Canceled", err)
	}
	d.wants(t, "close false")
}

// A reset calls OnError and OnClose of its own stream only.
func TestStreamReset(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		d := newDiary()
		v := &Server{Events: d.events(), AllowHalfOpen: true}
		nc := plainDial(t, listen(t, v))
		mustWrite(t, nc, "a")
		d.got(t, "a")
		nc.SetLinger(0)
		nc.Close()
		d.closed(t)
		all := d.all()
		if len(all) != 4 || !strings.Contains(all[2], "connection reset") || all[3] != "close true" {
			t.Errorf("events %q, want a reset and close true", all)
		}
	})
}

// A second Destroy does nothing, and Connections is never negative.
func TestStreamDestroy(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		d := newDiary()
		d.do.OnData = func(s *Stream, _ []byte) {
			s.Destroy()
			s.Destroy()
			wantState(t, s, Closed)
			if _, err := s.Write([]byte("x")); !errors.Is(err, handlers.ErrClosed) {
				t.Errorf("Write after Destroy = %v, want ErrClosed", err)
			}
		}
		v := &Server{Events: d.events()}
		nc := plainDial(t, listen(t, v))
		mustWrite(t, nc, "a")
		d.wants(t, "connect", "data a", "close false")
		if got := v.Connections(); got != 0 {
			t.Errorf("Connections() = %d, want 0", got)
		}
	})
}

// A panic in a callback ends only its own stream.
func TestStreamPanics(t *testing.T) {
	oops := func(*Stream) { panic("oops") }
	for _, tt := range []struct {
		name string
		do   Events
	}{
		{"OnConnect", Events{OnConnect: oops}},
		{"OnData", Events{OnData: func(*Stream, []byte) { panic("oops") }}},
		{"OnEnd", Events{OnEnd: oops}},
		{"OnTimeout", Events{OnConnect: func(s *Stream) { s.SetTimeout(time.Millisecond) }, OnTimeout: oops}},
		{"OnDrain", Events{OnConnect: func(s *Stream) { fill(t, s) }, OnDrain: oops}},
		{"OnError", Events{OnConnect: oops, OnError: func(*Stream, error) { panic("again") }}},
		{"OnClose", Events{OnConnect: oops, OnClose: func(*Stream, bool) { panic("again") }}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachDriver(t, func(t *testing.T) {
				d, other := newDiary(), newDiary()
				d.do = tt.do
				connected := make(chan struct{})
				d.do.OnConnect = func(s *Stream) {
					defer close(connected)
					if tt.do.OnConnect != nil {
						tt.do.OnConnect(s)
					}
				}
				events := make(chan *Events, 2)
				events <- d.events()
				events <- other.events()
				v := &Server{OnConnection: func(s *Stream) { s.Events = <-events }}
				addr := listen(t, v)
				nc := plainDial(t, addr)
				mustWrite(t, nc, "a")
				if tt.name == "OnEnd" {
					nc.CloseWrite()
				}
				go func() { // ends with the connection
					<-connected
					io.Copy(io.Discard, nc)
					nc.Close()
				}()
				d.has(t, "error callback panicked: string")
				d.has(t, "close true")
				mustWrite(t, plainDial(t, addr), "still there")
				other.has(t, "data still there")
			})
		})
	}
}

// While a stream is paused, its peer can send only what the kernel buffers. Nothing is lost.
func TestStreamPause(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		d := newDiary()
		paused := make(chan *Stream, 1)
		d.do.OnConnect = func(s *Stream) {
			s.Pause()
			paused <- s
		}
		v := &Server{Events: d.events()}
		nc := plainDial(t, listen(t, v))
		stream := <-paused
		sent, chunk := 0, []byte(strings.Repeat("x", 64<<10))
		for {
			nc.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
			n, err := nc.Write(chunk)
			sent += n
			if err != nil {
				break
			}
			if sent > 256<<20 {
				t.Fatal("the peer can go on sending")
			}
		}
		nc.CloseWrite()
		if got := d.all(); len(got) != 1 {
			t.Errorf("events %s while it was paused", brief(got))
		}
		stream.Resume()
		d.closed(t)
		if got := len(d.received()); got != sent {
			t.Errorf("received %d bytes of %d", got, sent)
		}
	})
}

// within waits until cond holds.
func within(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for late := time.Now().Add(soon); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal(what + ": not within " + soon.String())
		}
	}
}
