//go:build linux

package portluck

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
)

// closings counts how often a listener is closed. Its type cannot be compared.
type closings struct {
	net.Listener
	n *atomic.Int32
	_ []int
}

func (l closings) Close() error {
	l.n.Add(1)
	return l.Listener.Close()
}

// Serve closes its listener only once, however it ends: the Close of a program's listener may panic
// at the second call.
func TestServeClosesItsListenerOnce(t *testing.T) {
	for name, end := range map[string]func(s *Server, l net.Listener){
		"Shutdown": func(s *Server, _ net.Listener) { _ = s.Shutdown(context.Background()) },
		"Close":    func(s *Server, _ net.Listener) { s.Close() },
		"both": func(s *Server, _ net.Listener) {
			_ = s.Shutdown(context.Background())
			s.Close()
		},
		"its own end": func(_ *Server, l net.Listener) { l.(closings).Listener.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &Server{Hub: echoHub()}
			l := closings{Listener: listen(t), n: &atomic.Int32{}}
			served := make(chan error, 1)
			go func() { served <- s.Serve(l) }()
			talk(t, l.Addr().String(), "{}\n")
			end(s, l)
			<-served
			s.Close()
			if n := l.n.Load(); n != 1 {
				t.Errorf("it was closed %d times, want once", n)
			}
			late := closings{Listener: listen(t), n: &atomic.Int32{}}
			if err := s.Serve(late); !errors.Is(err, ErrServerClosed) || late.n.Load() != 1 {
				t.Errorf("Serve() = %v after the end, and closed it %d times; want once", err, late.n.Load())
			}
		})
	}
}

// A second Serve of the same listener does not close it: the first goes on.
func TestServeTwice(t *testing.T) {
	s := &Server{Hub: echoHub()}
	l := listen(t)
	serveOn(t, s, l)
	talk(t, l.Addr().String(), "{}\n")
	if err := s.Serve(l); !errors.Is(err, errServedTwice) {
		t.Errorf("Serve() = %v, want %v", err, errServedTwice)
	}
	if got := talk(t, l.Addr().String(), "{}\n"); got != "{}\n" {
		t.Errorf("read %q", got)
	}
}
