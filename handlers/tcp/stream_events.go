package tcp

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/loop"
)

// driven is a Stream as the loop sees it: the codec and the events of its connection.
type driven Stream

var (
	_ loop.Waker   = (*driven)(nil)
	_ loop.Drainer = (*driven)(nil)
)

// Connect implements [loop.Events.Connect]. The loop calls it for each connection, and once more
// after the handshake of SetSecure.
func (d *driven) Connect(info *handlers.Info) error {
	s := (*Stream)(d)
	s.mu.Lock()
	first := !s.connected
	s.connected = true
	if info.TLS != nil && first {
		s.rareLocked().outside = info.TLS
	}
	var before []chan struct{}
	if x := s.rare; x != nil {
		before, x.before = x.before, nil
	}
	secure := s.secureLocked()
	s.optionsLocked()
	s.mu.Unlock()
	for _, done := range before {
		<-done
	}
	if first {
		if v := s.server; v != nil && v.OnConnection != nil {
			if err := s.guard(func() { v.OnConnection(s) }); err != nil {
				return err
			}
		}
		if err := s.tell(func(e *Events) func(*Stream) { return e.OnConnect }); err != nil {
			return err
		}
	}
	if secure {
		return s.tell(func(e *Events) func(*Stream) { return e.OnSecure })
	}
	return nil
}

// optionsLocked applies the settings of the stream to a new connection.
func (s *Stream) optionsLocked() {
	_ = s.conn.SetNoDelay(s.noDelay) // if the connection is broken, reading it fails
	x := s.rare
	if x == nil {
		return
	}
	if x.keep != nil {
		_ = s.conn.SetKeepAlive(x.keep.on, x.keep.idle)
	}
	if x.watch != nil {
		x.watch.begin(time.Now())
		s.conn.Wake(x.watch.timeout)
	}
}

// tell calls the callback that event selects, unless the program has destroyed the stream.
func (s *Stream) tell(event func(e *Events) func(*Stream)) error {
	if s.Events == nil || s.isDestroyed() {
		return nil
	}
	f := event(s.Events)
	if f == nil {
		return nil
	}
	return s.guard(func() { f(s) })
}

// guard calls f, which is code of the program. A panic there is logged and destroys the stream,
// without waiting for the peer.
func (s *Stream) guard(f func()) error {
	err := handlers.Guard(f)
	if err != nil {
		s.mu.Lock()
		conn := s.conn
		s.mu.Unlock()
		if conn != nil {
			conn.LogPanic(err)
		}
		if s.Events == nil || s.Events.OnError == nil {
			handlers.LogPanic(nil, nil, err) // unless LogPanic of conn has logged it
		}
		s.fail(err)
	}
	return err
}

func (s *Stream) isDestroyed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.destroyed
}

// Message implements [loop.Events.Message].
func (d *driven) Message(m handlers.Message) error {
	s := (*Stream)(d)
	data := m.Data
	s.mu.Lock()
	if s.rare != nil && s.rare.text != nil {
		data = s.rare.text.decode(data)
	}
	s.mu.Unlock()
	return s.data(data)
}

// data calls OnData.
func (s *Stream) data(data []byte) error {
	if len(data) == 0 || s.Events == nil || s.Events.OnData == nil || s.isDestroyed() {
		return nil
	}
	return s.guard(func() { s.Events.OnData(s, data) })
}

// Decode implements [handlers.Codec.Decode]. It leaves the bytes after SetSecure for the handshake.
func (d *driven) Decode(in []byte, m *handlers.Messages) (int, error) {
	s := (*Stream)(d)
	s.mu.Lock()
	securing := s.securing
	s.mu.Unlock()
	if securing {
		return 0, nil
	}
	if len(in) > 0 {
		m.Deliver(handlers.Message{Data: in})
	}
	if !m.EOF || m.Cut {
		return len(in), nil
	}
	m.HalfOpen = s.AllowHalfOpen
	return len(in), s.finished()
}

// finished delivers what the decoder has kept, and calls OnEnd.
func (s *Stream) finished() error {
	s.mu.Lock()
	s.fin = true
	var rest []byte
	if x := s.rare; x != nil && x.text != nil {
		rest = x.text.flush()
	}
	if err := s.lostLocked(); err != nil {
		s.mu.Unlock()
		return err
	}
	s.mu.Unlock()
	if err := s.data(rest); err != nil {
		return err
	}
	if err := s.tell(func(e *Events) func(*Stream) { return e.OnEnd }); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = s.ended || !s.AllowHalfOpen
	return s.lostLocked()
}

// lostLocked returns an error if the peer reads no more, so that what was queued is lost.
func (s *Stream) lostLocked() error {
	if _, ok := s.conn.Queued(); ok || s.destroyed {
		return nil
	}
	return fmt.Errorf("write: %w", syscall.EPIPE)
}

// Woken implements [loop.Waker.Woken]: it starts the handshake, and raises OnDrain and OnTimeout.
func (d *driven) Woken(idle time.Duration, m *handlers.Messages) (again time.Duration) {
	s := (*Stream)(d)
	s.mu.Lock()
	if s.securing {
		s.moving = true
		m.Hijack = s.handshake
		s.mu.Unlock()
		return 0
	}
	drained := false
	if s.drained {
		s.drained = false
		s.draining = s.draining || s.conn.Drain(d)
		_, ok := s.conn.Queued()
		drained = ok && !s.draining
	}
	s.mu.Unlock()
	var err error
	if drained {
		err = s.tell(func(e *Events) func(*Stream) { return e.OnDrain })
	}
	if err == nil {
		again, err = s.look(idle)
	}
	if err != nil {
		s.fail(err)
	}
	return again
}

// Disconnect implements [loop.Events.Disconnect].
func (d *driven) Disconnect(err error) {
	s := (*Stream)(d)
	s.mu.Lock()
	moving := s.moving
	s.mu.Unlock()
	if !moving {
		s.closed(err)
	}
}

// closed resets the stream after the end of its connection, and calls OnError and OnClose.
func (s *Stream) closed(err error) {
	done := make(chan struct{})
	s.mu.Lock()
	switch x := s.rare; {
	case x != nil && x.err != nil:
		err = x.err
	case s.destroyed || errors.Is(err, handlers.ErrShutdown):
		err = nil
	}
	announced, conn := s.connected || s.client, s.conn
	server, shared := s.resetLocked(done)
	s.mu.Unlock()
	if server != nil {
		server.n.Add(-1)
	}
	if e := s.Events; e != nil && announced {
		var panicked error // only logged: the stream is closed already
		if err != nil && e.OnError != nil {
			panicked = handlers.Guard(func() { e.OnError(s, err) })
		}
		if e.OnClose != nil {
			panicked = errors.Join(panicked, handlers.Guard(func() { e.OnClose(s, err != nil) }))
		}
		if conn != nil {
			conn.LogPanic(panicked)
		}
		handlers.LogPanic(nil, nil, panicked) // unless LogPanic of conn has logged it
	}
	close(done)
	shared.release()
}

// resetLocked closes the stream and keeps its settings. Its next connection waits until done is
// closed.
func (s *Stream) resetLocked(done chan struct{}) (server *Server, shared *sharedLoop) {
	if s.counted {
		server = s.server
	}
	shared = s.shared
	s.conn, s.loop, s.shared = nil, nil, nil
	s.state = stateClosed
	s.connected, s.client, s.ended, s.fin, s.destroyed, s.paused = false, false, false, false, false, false
	s.securing, s.moving, s.draining, s.drained, s.counted = false, false, false, false, false
	old := s.rareLocked()
	if old.room != nil {
		close(old.room)
	}
	s.rare = &rare{before: append(running(old.before), done), text: old.text, watch: old.watch, keep: old.keep}
	if old.text != nil {
		old.text.n = 0
	}
	return server, shared
}

// running returns the channels of all that are not closed. There is more than one if an OnClose has
// opened the stream again and that connection has ended too.
func running(all []chan struct{}) []chan struct{} {
	return slices.DeleteFunc(all, func(done chan struct{}) bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
}

// AppendWrite implements [handlers.Codec.AppendWrite].
func (*driven) AppendWrite(dst, p []byte, _ handlers.Kind) []byte { return append(dst, p...) }

// AppendMessage implements [handlers.Codec.AppendMessage].
func (*driven) AppendMessage(dst, msg []byte, _ handlers.Kind) []byte { return append(dst, msg...) }

// AppendClose appends nothing: FIN is enough.
func (*driven) AppendClose(dst []byte, _ error) []byte { return dst }
