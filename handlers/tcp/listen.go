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

// shedTime bounds the Accept of shed.
const shedTime = 5 * time.Millisecond

// listening is a listener of a server, and what belongs to it.
type listening struct {
	server   *Server
	listener net.Listener
	shared   *sharedLoop
	reserve  *os.File // closed to have a descriptor when there are no others; see shed

	once   sync.Once
	closed chan struct{}
	err    error // of close
}

// Listen starts to accept streams at an address as [net.Listen] takes it: "tcp" and
// "localhost:8124", "tcp4" and ":8124" for all addresses of this machine, or "unix" and a path. It
// does not wait for connections. It removes a Unix socket from the path if nobody listens on it;
// any other file there is an error.
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

// ListenOn is like Listen, on any listener. The server owns l unless ListenOn returns an error.
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
	g.shared = v.acquire()
	g.reserve, _ = os.Open(os.DevNull) // without a reserve, shed does nothing
	v.accepting.Go(g.accept)           // ends when the listener is closed; Shutdown waits for it
	return nil
}

// close closes the listener once: the program's own listener may not expect a second Close.
func (g *listening) close() error {
	g.once.Do(func() {
		close(g.closed)
		if panicked := handlers.Guard(func() { g.err = g.listener.Close() }); panicked != nil {
			g.err = panicked
		}
	})
	return g.err
}

// accept accepts streams until the listener is closed or fails for good.
func (g *listening) accept() {
	v := g.server
	defer g.ended()
	for pause := handlers.Backoff(0); ; {
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
		handlers.Pause(g.closed, pause.Next())
	}
}

// fail logs err and calls OnError.
func (v *Server) fail(err error) {
	var onError func()
	if v.OnError != nil {
		onError = func() { v.OnError(err) }
	}
	handlers.Report(v.Log, nil, err, onError)
}

// ended releases what belongs to the listener and calls OnClose.
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
	g.shared.release()
}

// serve starts a stream on nc, or closes nc.
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
	shared := g.shared.retain() // its loop refuses nc after a Shutdown
	v.start(handlers.Wrap(nil, nc, &unknown), remote, &shared.loop, shared)
}

// exhausted reports whether err means that there are no descriptors left.
func exhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// shed accepts and closes one connection if err says that there are no descriptors left, so that
// its peer does not wait. The descriptor for that is the reserve's.
func (g *listening) shed(err error) {
	if g.reserve == nil || !exhausted(err) {
		return
	}
	g.reserve.Close()
	if d, ok := g.listener.(interface{ SetDeadline(t time.Time) error }); ok {
		_ = d.SetDeadline(time.Now().Add(shedTime))
		if nc, err := g.listener.Accept(); err == nil {
			nc.Close()
		}
		_ = d.SetDeadline(time.Time{})
	}
	g.reserve, _ = os.Open(os.DevNull)
}
