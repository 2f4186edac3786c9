package tcp

import (
	"errors"
	"io"

	"github.com/portluck/portluck/handlers"
)

// maxPending is about how many bytes may be written before the stream is open.
const maxPending = 16 << 20

// Write sends p, and keeps no reference to it. It never blocks. flushed reports whether the kernel
// has taken everything. If not, bytes are queued in memory, OnDrain follows when they have gone,
// and the program should not write before. Write returns [handlers.ErrClosed] after End, Destroy
// and the end of the connection, and [handlers.ErrSlow] if the queue is full ([Server.MaxQueue]).
// It has then sent nothing of p.
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

// WriteString decodes text and writes the bytes as Write does. UTF8 and Bytes send the text
// unchanged, ASCII sends the low byte of each code point, Base64 what the base64 encodes. The error
// is also that of a text that is not base64.
func (s *Stream) WriteString(text string, e Encoding) (flushed bool, err error) {
	p, err := e.bytes(text)
	if err != nil {
		return false, err
	}
	return s.Write(p)
}

// ReadFrom implements [io.ReaderFrom]: it writes all that it reads from r, and waits for the peer
// whenever bytes are queued. It does not end the stream.
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

// writeWaiting writes p and waits until the kernel has taken it.
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
			<-room
		}
		if err == nil {
			return nil
		}
	}
}

// awaitDrain returns a channel that is closed when nothing is queued or the stream is closed. It
// returns nil if nothing is queued now.
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

// End sends p, if it is not empty, and then FIN. Nothing can be written after it; the peer may
// still send. If the stream has ended already, End sends nothing and returns [handlers.ErrClosed].
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
		return nil // startLocked ends the connection
	}
	return s.conn.End()
}

// Drained implements [loop.Drainer.Drained]. A call may concern the connection before the
// handshake, so Woken checks that nothing is queued.
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

// drainedLocked marks OnDrain as due and wakes the ReadFroms that wait.
func (s *Stream) drainedLocked() {
	s.draining, s.drained = false, true
	if x := s.rare; x != nil && x.room != nil {
		close(x.room)
		x.room = nil
	}
}
