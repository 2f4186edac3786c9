package tcp

import (
	"errors"
	"io"

	"github.com/portluck/portluck/handlers"
)

// maxPending is how much may be written before the stream is open.
const maxPending = 16 << 20

// Write sends p, and keeps no reference to it. flushed says that the kernel has all of it;
// otherwise some waits in memory, and OnDrain is told when nothing does any more. It never waits: a
// peer that does not read is to be written to no more until OnDrain. The error is
// [handlers.ErrClosed] after End, Destroy and the end of the connection, and [handlers.ErrSlow]
// when the queue is full ([Server.MaxQueue]); nothing of p is sent then.
func (s *Stream) Write(p []byte) (flushed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == stateClosed || s.ended || s.destroyed {
		return false, handlers.ErrClosed
	}
	return s.writeLocked(p)
}

func (s *Stream) writeLocked(p []byte) (flushed bool, err error) {
	if s.conn == nil || s.securing {
		x := s.rareLocked()
		if len(x.pending) >= maxPending {
			return false, handlers.ErrSlow
		}
		x.pending = append(x.pending, p...)
		s.draining = true
		return false, nil
	}
	if err := s.conn.TrySend(p, handlers.Auto); err != nil {
		return false, err
	}
	s.conn.Flush()
	s.draining = s.draining || s.conn.Drain((*driven)(s))
	return !s.draining, nil
}

// WriteString is Write of a text in an encoding: UTF8 and Bytes send it as it is, ASCII the low
// byte of each code point, and Base64 what it stands for.
func (s *Stream) WriteString(text string, e Encoding) (flushed bool, err error) {
	p, err := e.bytes(text)
	if err != nil {
		return false, err
	}
	return s.Write(p)
}

// ReadFrom writes what r has, to its end, and waits for the peer whenever something is queued. The
// stream is not ended.
func (s *Stream) ReadFrom(r io.Reader) (n int64, err error) {
	buf := make([]byte, 32<<10)
	for {
		m, readErr := r.Read(buf)
		if m > 0 {
			if err := s.writeWaiting(buf[:m]); err != nil {
				return n, err
			}
			n += int64(m)
		}
		switch {
		case readErr == io.EOF:
			return n, nil
		case readErr != nil:
			return n, readErr
		}
	}
}

// writeWaiting writes p and waits until the kernel has it.
func (s *Stream) writeWaiting(p []byte) error {
	for {
		flushed, err := s.Write(p)
		switch {
		case flushed:
			return nil
		case err != nil && !errors.Is(err, handlers.ErrSlow):
			return err
		}
		if room := s.awaitDrain(); room != nil {
			<-room // closed when nothing is queued, or the stream is closed
		}
		if err == nil {
			return nil
		}
	}
}

// awaitDrain returns what is closed when nothing is queued any more; nil if nothing is.
func (s *Stream) awaitDrain() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.draining {
		return nil
	}
	x := s.rareLocked()
	if x.room == nil {
		x.room = make(chan struct{})
	}
	return x.room
}

// End sends p, if there is any, and then FIN: nothing can be written any more, and the peer may
// still send. It returns [handlers.ErrClosed], and sends nothing, when the stream was ended before.
func (s *Stream) End(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == stateClosed || s.ended || s.destroyed {
		return handlers.ErrClosed
	}
	if len(p) > 0 {
		if _, err := s.writeLocked(p); err != nil {
			return err
		}
	}
	s.ended = true
	if s.conn == nil || s.securing {
		return nil // startLocked does
	}
	return s.conn.End()
}

// Drained is [loop.Feeder.Drained]. It may come from the connection before the handshake: Woken
// looks.
func (d *driven) Drained() {
	s := (*Stream)(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil || s.securing {
		return
	}
	s.drainedLocked()
	s.conn.Wake(0)
}

// drainedLocked has OnDrain told, and those go on that wait.
func (s *Stream) drainedLocked() {
	s.draining, s.drained = false, true
	if x := s.rare; x != nil && x.room != nil {
		close(x.room)
		x.room = nil
	}
}
