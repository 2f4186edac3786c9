package portluck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/raw"
	"github.com/portluck/portluck/matchers"
	"github.com/rs/zerolog"
)

// A callback that ends its goroutine, as FailNow of a test does, ends one client. The client gets
// its OnDisconnect, others are served, and Shutdown does not wait for the callback.
func TestCallbacksGoexit(t *testing.T) {
	t.Parallel()
	for _, c := range callbacks {
		if c.free {
			continue // it runs in a goroutine of the program's
		}
		for _, goroutines := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, goroutines %t", c.name, goroutines), func(t *testing.T) {
				t.Parallel()
				r := raise(t, c, goroutines, func(*Server) error { runtime.Goexit(); return nil })
				eventually(t, "the connection is gone", func() bool { return r.Stats().Open == 0 && r.Hub.Len() == 0 })
				for range 20 { // all goroutines still serve, whichever takes a client
					nc := dial(t, r.addr)
					send(t, nc, "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
					expect(t, nc, "HTTP/1.1 200 OK\r\n")
					nc.Close()
				}
				panicsLogged(t, r.Server, r.log, 1)
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				if err := r.Shutdown(ctx); err != nil {
					t.Errorf("Shutdown = %v", err)
				}
			})
		}
	}
}

// OnDisconnect gets the Goexit as the reason, in every event and on both drivers, even if all
// runners end in this way.
func TestGoexitIsTheReason(t *testing.T) {
	t.Parallel()
	for _, goroutines := range []bool{false, true} {
		for _, in := range []string{"OnConnect", "OnMessage", "OnDisconnect", "Decode"} {
			t.Run(fmt.Sprintf("%s, goroutines %t", in, goroutines), func(t *testing.T) {
				t.Parallel()
				exit := func(name string) {
					if name == in {
						runtime.Goexit()
					}
				}
				const clients = 50
				reasons := make(chan error, clients)
				out := &logBuffer{}
				logger := zerolog.New(out)
				s := &Server{Goroutines: goroutines, Logger: &logger, Hub: &Hub{
					OnConnect:    func(*Writer, *Client) { exit("OnConnect") },
					OnMessage:    func(Message, *Writer, *Client) { exit("OnMessage") },
					OnDisconnect: func(_ *Client, err error) { reasons <- err; exit("OnDisconnect") },
				}}
				s.Handle("mine", matchers.Prefix("!"), &raw.Handler{NewCodec: func(*handlers.Info) handlers.Codec {
					return &exiting{exit: exit}
				}})
				addr := serve(t, s)
				for range clients {
					c := dial(t, addr)
					send(t, c, "!\n")
					if in == "OnDisconnect" {
						c.Close()
						continue
					}
					go func() { // ends with the connection
						_, _ = io.Copy(io.Discard, c)
						c.Close()
					}()
				}
				for range clients {
					err := <-reasons
					if want := in != "OnDisconnect"; errors.Is(err, handlers.ErrPanic) != want {
						t.Errorf("OnDisconnect(%v)", err)
					}
				}
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				if err := s.Shutdown(ctx); err != nil {
					t.Errorf("Shutdown = %v", err)
				}
				if n := s.Stats().Panics; n != clients {
					t.Errorf("%d are counted, want %d", n, clients)
				}
				if !strings.Contains(out.String(), "runtime.Goexit") {
					t.Errorf("logged: %s", out)
				}
			})
		}
	}
}

// exiting is a codec whose Decode may end its goroutine.
type exiting struct {
	raw.Lines
	exit func(name string)
}

func (e *exiting) Decode(in []byte, m *handlers.Messages) (int, error) {
	e.exit("Decode")
	return e.Lines.Decode(in, m)
}

// A handler that attaches its connection and then panics, or ends its goroutine, ends that client.
// The client's events come in order and once each, whatever has happened to the client by then.
func TestHandlerAttachesAndPanics(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(){"panics": func() { panic(errSecret) }, "ends": runtime.Goexit} {
		for _, goroutines := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, goroutines %t", name, goroutines), func(t *testing.T) {
				t.Parallel()
				out := &logBuffer{}
				logger := zerolog.New(out)
				var connects, disconnects, fails atomic.Int64
				s := &Server{Goroutines: goroutines, Logger: &logger, Hub: &Hub{
					OnConnect: func(*Writer, *Client) { connects.Add(1) },
					OnDisconnect: func(_ *Client, err error) {
						// nil if the client was faster
						if disconnects.Add(1); err != nil && !errors.Is(err, handlers.ErrPanic) {
							t.Errorf("OnDisconnect(%v)", err)
						}
					},
					OnError: func(*Info, error) { fails.Add(1) },
				}}
				s.Handle("mine", matchers.Prefix("!"), handlers.HandlerFunc(func(c handlers.Conn, p handlers.Port) {
					p.Attach(c, handlers.Attachment{Codec: &raw.Lines{}})
					end()
				}))
				addr := serve(t, s)
				for range 20 {
					c := dial(t, addr)
					send(t, c, "!hello\n")
					_ = c.CloseWrite()
					_, _ = c.Read(make([]byte, 1)) // its end
				}
				eventually(t, "all are gone", func() bool { return s.Stats().Open == 0 && s.Hub.Len() == 0 })
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				if err := s.Shutdown(ctx); err != nil {
					t.Errorf("Shutdown = %v", err)
				}
				if c, d, f := connects.Load(), disconnects.Load(), fails.Load(); c != d || c+f != 20 {
					t.Errorf("%d OnConnect, %d OnDisconnect, %d OnError, want 20 clients or errors", c, d, f)
				}
				if n := s.Stats().Panics; n != 20 {
					t.Errorf("%d panics are counted, want 20", n)
				}
			})
		}
	}
}
