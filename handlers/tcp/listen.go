package tcp

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/portluck/portluck/handlers"
)

const (
	leastPause = 5 * time.Millisecond // before accepting again after it has failed
	mostPause  = time.Second
)

// listening is a server that listens.
type listening struct {
	server   *Server
	listener net.Listener
	home     *lodging
	reserve  *os.File // a descriptor that is given up to refuse a connection when there are no others

	once   sync.Once
	closed chan struct{}
	err    error // of close
}

// Listen has the server accept streams at an address, as [net.Listen] knows them: "tcp" and
// "localhost:8124", "tcp4" and ":8124" for all addresses of this machine, "unix" and a path. It
// returns when connections are accepted. A socket that nobody listens on any more is removed from
// the path; anything else that is there is an error.
func (v *Server) Listen(network, address string) error {
	l, err := openListener(network, address)
	if err != nil {
		return err
	}
	if err := v.ListenOn(l); err != nil {
		l.Close()
		return err
	}
	return nil
}

func openListener(network, address string) (net.Listener, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
		return handlers.ListenTCP(net.ListenConfig{}, network, address)
	case "unix":
	default:
		return net.Listen(network, address)
	}
	l, err := handlers.ListenUnix(address)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// ListenOn is Listen on any listener, which is the server's from then on unless there is an error.
func (v *Server) ListenOn(l net.Listener) error {
	if handlers.IsNil(l) {
		return errors.New("tcp: ListenOn: the listener is nil")
	}
	g := &listening{server: v, listener: l, closed: make(chan struct{})}
	v.mu.Lock()
	if v.listening != nil {
		v.mu.Unlock()
		return ErrListening
	}
	v.listening = g
	v.mu.Unlock()
	g.home = v.enter()
	g.reserve, _ = os.Open(os.DevNull) // without it the surplus waits
	v.accepting.Go(g.accept)           // ends when the listener is closed; Shutdown waits for it
	return nil
}

// close closes the listener, at the first call: a Close of the program's may not bear a second one.
func (g *listening) close() error {
	g.once.Do(func() {
		close(g.closed)
		if panicked := handlers.Guard(func() { g.err = g.listener.Close() }); panicked != nil {
			g.err = panicked
		}
	})
	return g.err
}

// accept makes streams until the listener is closed or fails.
func (g *listening) accept() {
	v := g.server
	defer g.ended()
	for pause := time.Duration(0); ; {
		nc, err := connect(g.listener.Accept)
		switch {
		case err == nil:
			pause = 0
			g.serve(nc)
			continue
		case errors.Is(err, net.ErrClosed):
			return
		}
		v.fail(err)
		if handlers.AcceptEnds(err) {
			return
		}
		_ = handlers.Guard(func() { g.shed(err) })
		pause = min(max(2*pause, leastPause), mostPause)
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-g.closed:
			t.Stop()
		}
	}
}

// fail logs err, and tells OnError.
func (v *Server) fail(err error) {
	var onError func()
	if v.OnError != nil {
		onError = func() { v.OnError(err) }
	}
	handlers.Report(v.Log, nil, err, onError)
}

// ended tells that the server does not listen any more.
func (g *listening) ended() {
	v := g.server
	_ = g.close()
	if g.reserve != nil {
		g.reserve.Close()
	}
	v.mu.Lock()
	if v.listening == g {
		v.listening = nil
	}
	v.mu.Unlock()
	if v.OnClose != nil {
		handlers.LogPanic(v.Log, nil, handlers.Guard(v.OnClose))
	}
	g.home.leave()
}

// serve makes a stream of nc, or closes it.
func (g *listening) serve(nc net.Conn) {
	v := g.server
	remote, err := peerOf(nc)
	if err != nil {
		v.fail(err)
		return
	}
	if !v.admit() {
		nc.Close()
		return
	}
	handlers.InlineUrgent(nc)
	home := g.home.join() // which refuses it after a Shutdown
	v.start(&plain{nc}, remote, &home.loop, home)
}

// exhausted says that there are no descriptors left.
func exhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// shed closes a connection that cannot be accepted for want of a descriptor: its peer need not
// wait.
func (g *listening) shed(err error) {
	if g.reserve == nil || !exhausted(err) {
		return
	}
	g.reserve.Close()
	if d, ok := g.listener.(interface{ SetDeadline(t time.Time) error }); ok {
		_ = d.SetDeadline(time.Now().Add(leastPause))
		if nc, err := g.listener.Accept(); err == nil {
			nc.Close()
		}
		_ = d.SetDeadline(time.Time{})
	}
	g.reserve, _ = os.Open(os.DevNull)
}
