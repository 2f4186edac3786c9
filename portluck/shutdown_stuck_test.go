package portluck

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// deafListener does not notice that it is closed; its Close may not return either.
type deafListener struct{ accept, close chan struct{} }

func (l *deafListener) Addr() net.Addr { return &net.UnixAddr{} }

func (l *deafListener) Accept() (net.Conn, error) {
	<-l.accept
	return nil, net.ErrClosed
}

func (l *deafListener) Close() error {
	<-l.close
	return nil
}

// packetsOf is a PacketHandler whose Shutdown is a func of the test.
type packetsOf struct {
	shutdown func() error
	done     chan struct{}
}

func (h *packetsOf) ServePacket(pc net.PacketConn, _ handlers.Port) error {
	defer pc.Close()
	<-h.done
	return nil
}

func (h *packetsOf) Shutdown(context.Context) error { return h.shutdown() }

func (*packetsOf) Close() error { return nil }

// Shutdown returns when its ctx ends, and Close returns soon, even if code of the program does not
// return.
func TestShutdownStuck(t *testing.T) {
	t.Parallel()
	stop := map[string]func(s *Server) error{
		"Shutdown": func(s *Server) error {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			defer cancel()
			if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
				return errors.Join(errors.New("it did not end by its ctx"), err)
			}
			return nil
		},
		"Close": (*Server).Close,
	}
	open := make(chan struct{})
	close(open)
	stuck := map[string]func(s *Server, free chan struct{}) error{
		"Accept": func(s *Server, free chan struct{}) error {
			return s.Serve(&deafListener{free, open})
		},
		"Close of a listener": func(s *Server, free chan struct{}) error {
			return s.Serve(&deafListener{free, free})
		},
		"a handler of datagrams": func(s *Server, free chan struct{}) error {
			h := &packetsOf{func() error { <-free; return nil }, free}
			return s.ServePacket(must(net.ListenPacket("udp", "127.0.0.1:0")), h)
		},
	}
	for what, serve := range stuck {
		for how, end := range stop {
			t.Run(how+"/"+what, func(t *testing.T) {
				t.Parallel()
				s, free := &Server{}, make(chan struct{})
				p := must(s.start())
				served, ended := make(chan error, 1), make(chan error, 1)
				go func() { served <- serve(s, free) }()
				eventually(t, "it is served", func() bool { return p.serves() })
				go func() { ended <- end(s) }()
				select {
				case err := <-ended:
					if err != nil {
						t.Error(err)
					}
				case <-time.After(patience):
					t.Error("it has not returned")
				}
				close(free)
				if err := <-served; !errors.Is(err, ErrServerClosed) {
					t.Errorf("it served until %v", err)
				}
			})
		}
	}
}

// serves reports whether p has something to serve.
func (p *port) serves() bool {
	p.mu.Lock()
	n := len(p.listeners)
	p.mu.Unlock()
	p.packets.mu.Lock()
	defer p.packets.mu.Unlock()
	return n+len(p.packets.handlers) > 0
}

// Shutdown returns the error of a PacketHandler that could not end in good order.
func TestShutdownTellsOfPackets(t *testing.T) {
	t.Parallel()
	want := errors.New("not in good order")
	h := &packetsOf{func() error { return want }, make(chan struct{})}
	s := &Server{}
	served := make(chan error, 1)
	go func() { served <- s.ServePacket(must(net.ListenPacket("udp", "127.0.0.1:0")), h) }()
	eventually(t, "it is served", func() bool { return must(s.start()).serves() })
	if err := s.Shutdown(t.Context()); !errors.Is(err, want) {
		t.Errorf("Shutdown() = %v, want %v", err, want)
	}
	close(h.done)
	<-served
}
