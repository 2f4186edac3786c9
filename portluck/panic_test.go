package portluck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/callosum"
	"github.com/portluck/portluck/handlers/mesh"
	"github.com/portluck/portluck/handlers/raw"
	"github.com/portluck/portluck/handlers/tcp"
	"github.com/portluck/portluck/matchers"
	"github.com/portluck/portluck/portluck/hub"
	"github.com/rs/zerolog"
)

// errSecret is the value of the callbacks' panics. Its text must appear nowhere.
var errSecret = errors.New("SECRET of a client")

// panicsLogged checks that the log of s has n panics, each with a stack that includes this
// package's tests, and nothing of the values of the panics.
func panicsLogged(t *testing.T, s *Server, out *logBuffer, n uint64) {
	t.Helper()
	eventually(t, "it is counted", func() bool { return s.Stats().Panics >= n })
	eventually(t, "it is logged", func() bool { return strings.Contains(out.String(), "panic in the program") })
	got := out.String()
	if s.Stats().Panics != n || n == 1 && strings.Count(got, "panic in the program") != 1 {
		t.Errorf("%d panics counted, want %d: %s", s.Stats().Panics, n, got)
	}
	if !strings.Contains(got, "_test.go:") || !strings.Contains(got, `"level":"error"`) || (!strings.Contains(got, "*errors.errorString") && !strings.Contains(got, "runtime.Goexit")) {
		t.Errorf("no stack, level or type: %s", got)
	}
	if strings.Contains(got, "SECRET") {
		t.Errorf("the value is logged: %s", got)
	}
}

// A panic in a callback of any kind is logged once.
func TestCallbacksPanicLogged(t *testing.T) {
	t.Parallel()
	for _, c := range callbacks {
		for _, goroutines := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, goroutines %t", c.name, goroutines), func(t *testing.T) {
				t.Parallel()
				r := raise(t, c, goroutines, func(*Server) error { panic(errSecret) })
				panicsLogged(t, r.Server, r.log, 1)
			})
		}
	}
}

// A panic with http.ErrAbortHandler is not logged.
func TestAbortHandlerIsNotLogged(t *testing.T) {
	t.Parallel()
	for _, c := range callbacks {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := raise(t, c, false, func(*Server) error { panic(http.ErrAbortHandler) })
			eventually(t, "the connection is gone", func() bool { return r.Stats().Open == 0 })
			if got := r.log.String(); r.Stats().Panics > 0 || strings.Contains(got, "panic in the program") {
				t.Errorf("logged: %s", got)
			}
		})
	}
}

// brittle is a codec that panics in one of its methods, and that tells the peer the reason of the
// end.
type brittle struct {
	raw.Lines
	in string
}

func (b *brittle) broken(method string) {
	if b.in == method {
		panic(errSecret)
	}
}

func (b *brittle) Decode(in []byte, m *handlers.Messages) (int, error) {
	b.broken("Decode")
	if b.in == "Leave" && bytes.HasSuffix(in, []byte("\n")) {
		m.Hijack = func(nc net.Conn) { b.broken("Leave") }
		return len(in), nil
	}
	return b.Lines.Decode(in, m)
}

func (b *brittle) AppendMessage(dst, msg []byte, k Kind) []byte {
	b.broken("AppendMessage")
	return b.Lines.AppendMessage(dst, msg, k)
}

func (b *brittle) AppendWrite(dst, p []byte, k Kind) []byte {
	b.broken("AppendWrite")
	return b.Lines.AppendWrite(dst, p, k)
}

func (b *brittle) AppendClose(dst []byte, reason error) []byte {
	b.broken("AppendClose")
	return fmt.Appendf(dst, "bye: %v\n", reason)
}

// A panic in a codec is logged with its stack and route. The farewell tells the peer only that
// there was a panic, even if the codec sends the reason unchanged.
func TestCodecPanics(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"NewCodec", "Decode", "AppendMessage", "AppendWrite", "AppendClose", "Leave", "OnMessage"} {
		for _, goroutines := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, goroutines %t", method, goroutines), func(t *testing.T) {
				t.Parallel()
				out := &logBuffer{}
				logger := zerolog.New(out)
				codec := func() *brittle { return &brittle{in: method} }
				hub := &Hub{OnMessage: func(m Message, w *Writer, _ *Client) {
					codec().broken("OnMessage")
					_, _ = w.WriteString("first\n")
					_ = w.Send(m)
					_ = w.End()
				}}
				s := &Server{Hub: hub, Logger: &logger, Goroutines: goroutines}
				s.Handle("mine", matchers.Prefix("!"), &raw.Handler{NewCodec: func(*handlers.Info) handlers.Codec {
					codec().broken("NewCodec")
					return codec()
				}})
				c := dial(t, serve(t, s))
				send(t, c, "!\n")
				if method != "AppendClose" {
					_ = c.CloseWrite()
				}
				got, _ := io.ReadAll(c)
				if strings.Contains(string(got), "SECRET") || strings.Contains(string(got), "errorString") {
					t.Errorf("the peer got %q", got)
				}
				panicsLogged(t, s, out, 1)
				if !strings.Contains(out.String(), `"route":"mine"`) && method != "Leave" {
					t.Errorf("no route: %s", out)
				}
			})
		}
	}
}

// Panics of the callbacks of a tcp.Stream are logged too if its server is a route of the port.
func TestStreamPanicsLogged(t *testing.T) {
	t.Parallel()
	boom := func(*tcp.Stream) { panic(errSecret) }
	for name, server := range map[string]*tcp.Server{
		"OnConnection": {OnConnection: boom},
		"OnConnect":    {Events: &tcp.Events{OnConnect: boom}},
		"OnData":       {Events: &tcp.Events{OnData: func(*tcp.Stream, []byte) { panic(errSecret) }}},
		"OnEnd":        {Events: &tcp.Events{OnEnd: boom}},
		"OnClose":      {Events: &tcp.Events{OnClose: func(*tcp.Stream, bool) { panic(errSecret) }}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := &logBuffer{}
			logger := zerolog.New(out)
			s := &Server{Logger: &logger}
			s.Handle("mine", matchers.Prefix("!"), server)
			c := dial(t, serve(t, s))
			send(t, c, "!")
			_ = c.CloseWrite()
			_, _ = io.ReadAll(c)
			panicsLogged(t, s, out, 1)
		})
	}
}

// Handlers that recover panics themselves pass them to the port, which logs them.
func TestHandlersPanicsLogged(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(h *callosum.Handler){
		"callosum OnConnection": func(h *callosum.Handler) {
			h.OnConnection, h.OnError = func(context.Context, *callosum.Conn) { panic(errSecret) }, func(*Info, error) {}
		},
		"callosum OnError": func(h *callosum.Handler) {
			h.OnSlotRequest = func(context.Context) (int, error) { return 0, callosum.ErrNoSlot }
			h.OnError = func(*Info, error) { panic(errSecret) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := &logBuffer{}
			logger := zerolog.New(out)
			s, h := &Server{Logger: &logger}, &callosum.Handler{}
			set(h)
			s.Handle("slots", matchers.Prefix("!"), h)
			c := dial(t, serve(t, s))
			send(t, c, "!")
			_ = c.CloseWrite()
			_, _ = io.ReadAll(c)
			panicsLogged(t, s, out, 1)
		})
	}
}

// So do mesh nodes that share the port.
func TestNodePanicsLogged(t *testing.T) {
	t.Parallel()
	out := &logBuffer{}
	logger := zerolog.New(out)
	s := &Server{Logger: &logger}
	boom := func(*mesh.Conn) { panic(errSecret) }
	node := &mesh.Node{Name: "panics", Hello: true, OnConnection: boom, OnError: func(error) {}, Discovery: mesh.Static(nil)}
	s.Handle("mesh", matchers.Prefix(mesh.HelloPrefix), node)
	at := netip.MustParseAddrPort(serve(t, s))
	if err := node.Join(at); err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	other := &mesh.Node{Name: "panics", Hello: true, Discovery: mesh.Static{{Addrs: []netip.AddrPort{at}}}}
	if err := other.Listen(0, "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is logged", func() bool { return strings.Contains(out.String(), "panic in the program") })
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	if got := out.String(); !strings.Contains(got, "panic_test.go:") || strings.Contains(got, "SECRET") {
		t.Errorf("logged: %s", got)
	}
}

// On ports of their own, the standard logger logs panics unless OnError gets them. It also logs a
// panic of OnError.
func TestPanicsOnOwnPortsLogged(t *testing.T) {
	out := &logBuffer{}
	stdlog.SetOutput(out)
	defer stdlog.SetOutput(os.Stderr)
	for _, tt := range []struct {
		name  string
		want  int // lines
		start func(t *testing.T, told func()) (addr string)
	}{
		{"callosum OnConnection", 1, func(t *testing.T, _ func()) string {
			return serveSlots(t, &callosum.Handler{OnConnection: func(context.Context, *callosum.Conn) { panic(errSecret) }})
		}},
		{"callosum OnError", 1, func(t *testing.T, _ func()) string {
			return serveSlots(t, &callosum.Handler{
				OnConnection: func(context.Context, *callosum.Conn) { panic("first") }, OnError: func(*Info, error) { panic(errSecret) },
			})
		}},
		{"callosum, told", 0, func(t *testing.T, told func()) string {
			return serveSlots(t, &callosum.Handler{
				OnConnection: func(context.Context, *callosum.Conn) { panic(errSecret) }, OnError: func(*Info, error) { told() },
			})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			panics := func() int { return strings.Count(out.String(), "callback panicked") }
			before, tries := panics(), 0
			told := make(chan struct{}, 1)
			addr := tt.start(t, func() { told <- struct{}{} })
			eventually(t, "it is logged", func() bool {
				tries++ // package handlers logs few a second, and other tests may have had them
				c := dial(t, addr)
				send(t, c, "x")
				if tt.want == 0 {
					<-told
				}
				_ = c.CloseWrite()
				_, _ = io.ReadAll(c)
				for late := time.Now().Add(time.Second); panics()-before < tt.want && time.Now().Before(late); {
					time.Sleep(time.Millisecond)
				}
				return panics()-before >= tt.want
			})
			got := out.String()
			if n := panics() - before; n > tt.want*tries || strings.Contains(got, "SECRET") || !strings.Contains(got, "panic_test.go:") {
				t.Errorf("%d logged of %d: %s", n, tries, got)
			}
		})
	}
}

func serveSlots(t *testing.T, h *callosum.Handler) (addr string) {
	t.Helper()
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	s := &callosum.Server{Handler: h}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }() // ends with Close
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return l.Addr().String()
}

// If many panics come at once, one is logged. The next line has the number of those that were not.
func TestPanicsAreBounded(t *testing.T) {
	out := &logBuffer{}
	logger := zerolog.New(out)
	l := newLog(zeroLogger{&logger})
	for range 100 {
		l.panicked(nil, handlers.Guard(func() { panic(errSecret) }))
	}
	// one a second, however long this has taken
	if n := strings.Count(out.String(), "\n"); n < 1 || n > 10 {
		t.Errorf("%d lines", n)
	}
	l.panicAt.Store(0) // a second later
	before := l.unlogged.Load()
	l.panicked(nil, handlers.Guard(func() { panic(errSecret) }))
	if want := fmt.Sprintf(`"unlogged":%d`, before); before == 0 || !strings.Contains(out.String(), want) {
		t.Errorf("no %s in %s", want, out)
	}
}

// ownRuntimeError is an error of the program, whose text may be anything.
type ownRuntimeError struct{ error }

func (ownRuntimeError) RuntimeError() {}

func TestPanicValuesAreNotLogged(t *testing.T) {
	for _, value := range []any{"SECRET", errSecret, ownRuntimeError{errSecret}, []byte("SECRET"), struct{ s string }{"SECRET"}} {
		out := &logBuffer{}
		logger := zerolog.New(out)
		err := handlers.Guard(func() { panic(value) })
		newLog(zeroLogger{&logger}).panicked(nil, err)
		if got := out.String(); strings.Contains(got+err.Error(), "SECRET\"") || !strings.Contains(got, fmt.Sprintf("%T", value)) {
			t.Errorf("%T: logged %s, and the error is %v", value, got, err)
		}
		if strings.Contains(err.Error(), "SECRET of") {
			t.Errorf("Error() = %v", err)
		}
	}
}

// OnDisconnect gets the panic as the reason, even if the server is closed or the client is killed
// before the peer has ended its side.
func TestPanicIsTheReason(t *testing.T) {
	t.Parallel()
	for _, goroutines := range []bool{false, true} {
		for name, end := range map[string]func(s *Server, c *Client){
			"Close":   func(s *Server, _ *Client) { _ = s.Close() },
			"Destroy": func(_ *Server, c *Client) { c.Writer().Destroy() },
			"kill":    func(_ *Server, c *Client) { (*hub.Session)(c).Kill(handlers.ErrSlow) },
		} {
			t.Run(fmt.Sprintf("%s, goroutines %t", name, goroutines), func(t *testing.T) {
				t.Parallel()
				client, reason := make(chan *Client, 1), make(chan error, 1)
				s := &Server{Goroutines: goroutines, Hub: &Hub{
					OnMessage:    func(_ Message, _ *Writer, c *Client) { client <- c; panic(errSecret) },
					OnDisconnect: func(_ *Client, err error) { reason <- err },
				}}
				c := dial(t, serve(t, s))
				send(t, c, "hello\n")
				_, _ = io.ReadAll(c) // it waits for our FIN now
				end(s, <-client)
				if err := <-reason; !errors.Is(err, handlers.ErrPanic) {
					t.Errorf("OnDisconnect(%v), want %v", err, handlers.ErrPanic)
				}
			})
		}
	}
}
