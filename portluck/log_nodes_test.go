package portluck

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/callosum"
	"github.com/portluck/portluck/handlers/mesh"
	"github.com/portluck/portluck/handlers/tcp"
	"github.com/portluck/portluck/matchers"
	"github.com/rs/zerolog"
)

// A stranger makes something fail: a node or server on a port of its own, or a handler on a shared
// port.
type stranger struct {
	name        string
	proto, says string
	// own starts it on a port of its own, with s as its Log.
	own func(t *testing.T, s *Server, told func()) (addr string)
	// shared adds it to the port of s. It is nil if the handler cannot share a port.
	shared func(t *testing.T, s *Server, told func())
	sends  string
}

// closesWith calls f, which closes something, when the test ends.
func closesWith(t *testing.T, f func() error) {
	t.Cleanup(func() {
		if err := f(); err != nil {
			t.Error(err)
		}
	})
}

// free returns a listener on a free port.
func free(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func slotsFor(told func()) *callosum.Handler {
	h := &callosum.Handler{OnSlotRequest: func(context.Context) (int, error) { return 0, callosum.ErrNoSlot }}
	if told != nil {
		h.OnError = func(*handlers.Info, error) { told() }
	}
	return h
}

func nodeFor(told func()) *mesh.Node {
	n := &mesh.Node{Name: "x", ID: "0A", Hello: true, Discovery: mesh.Static{}}
	if told != nil {
		n.OnError = func(error) { told() }
	}
	return n
}

var strangers = []stranger{
	{
		"callosum", "callosum", "no slot is free",
		func(t *testing.T, s *Server, told func()) string {
			v, l, done := &callosum.Server{Handler: slotsFor(told), Log: s}, free(t), make(chan struct{})
			go func() { _ = v.Serve(l); close(done) }()
			closesWith(t, func() error { err := v.Close(); <-done; return err })
			return l.Addr().String()
		},
		func(_ *testing.T, s *Server, told func()) {
			s.Handle("slots", matchers.Prefix(callosum.Preface), slotsFor(told))
		},
		callosum.Preface + "SECRET",
	},
	{
		"mesh", "mesh", "not a hello of this mesh",
		func(t *testing.T, s *Server, told func()) string {
			n, l := nodeFor(told), free(t)
			n.Log = s
			if err := n.ListenOn(l); err != nil {
				t.Fatal(err)
			}
			closesWith(t, n.Close)
			return l.Addr().String()
		},
		func(t *testing.T, s *Server, told func()) {
			n := nodeFor(told)
			if err := n.Join(netip.MustParseAddrPort("127.0.0.1:1")); err != nil {
				t.Fatal(err)
			}
			closesWith(t, n.Close)
			s.Handle("mesh", matchers.Prefix(mesh.HelloPrefix), n)
		},
		mesh.HelloPrefix + "SECRET of a peer\n",
	},
}

// The errors of a handler go to its OnError and also to the log of its server, or of the server
// that is its Log. Whatever strangers do, the lines are few and contain nothing that strangers
// send.
func TestErrorsOfHandlersAreLogged(t *testing.T) {
	t.Parallel()
	for _, tt := range strangers {
		for _, where := range []string{"own port", "shared port"} {
			for _, tells := range []bool{true, false} {
				t.Run(strings.Join([]string{tt.name, where, map[bool]string{true: "OnError", false: "no OnError"}[tells]}, ", "), func(t *testing.T) {
					t.Parallel()
					out := &logBuffer{}
					logger := zerolog.New(out).Level(zerolog.InfoLevel)
					s := &Server{Hub: &Hub{}, Logger: &logger}
					var n atomic.Int32
					var told func()
					if tells {
						told = func() { n.Add(1) }
					}
					var addr string
					if where == "own port" {
						addr = tt.own(t, s, told)
					} else {
						tt.shared(t, s, told)
						addr = serve(t, s)
					}
					begin := time.Now()
					const times = 100
					for range times {
						c := dial(t, addr)
						send(t, c, tt.sends)
						_, _ = io.Copy(io.Discard, c) // until it is refused
						c.Close()
					}
					var got []line
					eventually(t, "it is logged and told", func() bool {
						got = linesOf(t, out.String())
						return len(got) > 0 && (!tells || n.Load() > 0)
					})
					if most := failuresPerSecond * int(2+time.Since(begin)/time.Second); len(got) > most {
						t.Errorf("%d lines, want %d at the most", len(got), most)
					}
					for _, l := range got {
						if l.Message != "client failed" || l.Level != "info" || l.Proto != tt.proto || !strings.HasPrefix(l.Remote, "127.0.0.1:") || !strings.Contains(l.Error, tt.says) {
							t.Errorf("logged %+v", l)
						}
					}
					if strings.Contains(out.String(), "SECRET") {
						t.Errorf("logged: %s", out)
					}
				})
			}
		}
	}
}

// lame is a listener that fails once and then is closed.
type lame struct {
	net.Listener
	failed bool
}

func (l *lame) Accept() (net.Conn, error) {
	if l.failed {
		return nil, net.ErrClosed
	}
	l.failed = true
	return nil, syscall.EMFILE
}

// A failure of a listener is logged, and so are panics of the program, with their stack.
func TestErrorsOfListenersAreLogged(t *testing.T) {
	t.Parallel()
	for name, serve := range map[string]func(t *testing.T, s *Server, l net.Listener){
		"callosum": func(_ *testing.T, s *Server, l net.Listener) { _ = (&callosum.Server{Log: s}).Serve(l) },
		"mesh": func(t *testing.T, s *Server, l net.Listener) {
			n := nodeFor(nil)
			n.Log, n.OnClose = s, func() { panic(errSecret) }
			if err := n.ListenOn(l); err != nil {
				t.Fatal(err)
			}
			closesWith(t, n.Close)
		},
		"tcp": func(t *testing.T, s *Server, l net.Listener) {
			v := &tcp.Server{Log: s, OnClose: func() { panic(errSecret) }}
			if err := v.ListenOn(l); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := &logBuffer{}
			logger := zerolog.New(out)
			s := &Server{Logger: &logger}
			serve(t, s, &lame{Listener: free(t)})
			eventually(t, "it is logged", func() bool {
				for _, l := range linesOf(t, out.String()) {
					if l.Message == "handler failed" && l.Level == "warn" && strings.HasSuffix(l.Error, syscall.EMFILE.Error()) {
						return true
					}
				}
				return false
			})
			if name == "tcp" {
				eventually(t, "the panic is logged", func() bool { return strings.Contains(out.String(), "panic in the program") })
			}
			if strings.Contains(out.String(), errSecret.Error()) {
				t.Errorf("logged: %s", out)
			}
		})
	}
}
