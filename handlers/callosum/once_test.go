package callosum

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
)

// countedClose is a listener that counts the calls of Close.
type countedClose struct {
	net.Listener
	accepts chan struct{} // gets a value for each call of Accept
	n       atomic.Int32
}

func (l *countedClose) Accept() (net.Conn, error) {
	l.accepts <- struct{}{}
	return l.Listener.Accept()
}

func (l *countedClose) Close() error {
	l.n.Add(1)
	return l.Listener.Close()
}

// The server closes its listener only once, as a second Close may panic.
func TestServeClosesItsListenerOnce(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(s *Server){
		"Close":           func(s *Server) { s.Close() },
		"Close twice":     func(s *Server) { s.Close(); s.Close() },
		"Shutdown":        func(s *Server) { _ = s.Shutdown(context.Background()) },
		"Shutdown, Close": func(s *Server) { _ = s.Shutdown(context.Background()); s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &countedClose{Listener: (&network{}).listen("a"), accepts: make(chan struct{}, 1)}
			s := &Server{}
			done := make(chan error, 1)
			go func() { done <- s.Serve(l) }() // ends with end
			<-l.accepts
			end(s)
			if err := <-done; !errors.Is(err, ErrServerClosed) {
				t.Errorf("Serve() = %v, want ErrServerClosed", err)
			}
			if n := l.n.Load(); n != 1 {
				t.Errorf("Close was called %d times, want 1", n)
			}
		})
	}
}
