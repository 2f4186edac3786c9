package mesh

import (
	"io"
	"net"
	"os"
	"sync"

	"github.com/portluck/portluck/handlers"
)

// readAhead bounds the input of a peer that is kept until the program reads it.
const readAhead = 64 << 10

// inbox holds the input that was read ahead.
type inbox struct {
	deadline deadline

	mu      sync.Mutex
	changed signal
	buf     []byte
	err     error // after buf
	dropped bool  // nobody will read any more
}

// put adds p. It waits while there is no room.
func (b *inbox) put(p []byte) {
	for {
		b.mu.Lock()
		switch {
		case b.dropped || b.err != nil:
			b.mu.Unlock()
			return
		case len(b.buf) == 0 || len(b.buf)+len(p) <= readAhead:
			b.buf = append(b.buf, p...)
			b.changed.wakeLocked()
			b.mu.Unlock()
			return
		}
		wait := b.changed.waitLocked()
		b.mu.Unlock()
		<-wait
	}
}

// end ends the input with err. Only the first call counts.
func (b *inbox) end(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
		b.changed.wakeLocked()
	}
}

// drop discards the input, also what comes later.
func (b *inbox) drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dropped = true
	b.buf = nil
	b.changed.wakeLocked()
}

func (b *inbox) read(p []byte) (int, error) {
	for {
		passed := b.deadline.wait()
		if isClosed(passed) {
			return 0, os.ErrDeadlineExceeded
		}
		b.mu.Lock()
		n, err := b.takeLocked(p)
		if n > 0 || err != nil || len(p) == 0 {
			b.mu.Unlock()
			return n, err
		}
		wait := b.changed.waitLocked()
		b.mu.Unlock()
		select {
		case <-wait:
		case <-passed:
		}
	}
}

func (b *inbox) takeLocked(p []byte) (int, error) {
	switch {
	case b.dropped:
		return 0, net.ErrClosed
	case len(b.buf) == 0:
		return 0, b.err
	}
	n := copy(p, b.buf)
	if b.buf = b.buf[n:]; len(b.buf) == 0 {
		b.buf = nil // an idle connection keeps no memory
	}
	b.changed.wakeLocked()
	return n, nil
}

// outbox holds the output that waits.
type outbox struct {
	deadline deadline
	limit    int

	mu      sync.Mutex
	changed signal
	buf     []byte
	running bool  // a flush is under way, or nothing will be written any more
	ended   bool  // nothing is added any more
	err     error // why
}

// put adds as much of p as there is room for, or waits until there is some. If start is true the
// caller must flush.
func (b *outbox) put(p []byte) (n int, start bool, err error) {
	passed := b.deadline.wait()
	if isClosed(passed) {
		return 0, false, os.ErrDeadlineExceeded
	}
	b.mu.Lock()
	if err := b.errLocked(); err != nil || len(p) == 0 {
		b.mu.Unlock()
		return 0, false, err
	}
	if free := b.limit - len(b.buf); free > 0 {
		defer b.mu.Unlock()
		n = min(free, len(p))
		return n, b.addLocked(p[:n]), nil
	}
	wait := b.changed.waitLocked()
	b.mu.Unlock()
	select {
	case <-wait:
	case <-passed:
	}
	return 0, false, nil
}

// putAll adds p or nothing. What is longer than the limit is added to an empty queue.
func (b *outbox) putAll(p []byte) (start bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch err := b.errLocked(); {
	case err != nil:
		return false, err
	case len(p) == 0:
		return false, nil
	case len(b.buf) > 0 && len(b.buf)+len(p) > b.limit:
		return false, handlers.ErrSlow
	}
	return b.addLocked(p), nil
}

func (b *outbox) errLocked() error {
	if b.err != nil {
		return b.err
	}
	if b.ended {
		return io.ErrClosedPipe
	}
	return nil
}

func (b *outbox) addLocked(p []byte) (start bool) {
	b.buf = append(b.buf, p...)
	start = !b.running
	b.running = true
	return start
}

// take returns all that is queued. It is nil when there is nothing, or nothing will be written any
// more; last says that the latter is so, and that the caller is the one to end our side.
func (b *outbox) take() (p []byte, last bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		b.buf = nil
	}
	p, b.buf = b.buf, nil
	b.changed.wakeLocked()
	if len(p) > 0 {
		return p, false
	}
	last = b.ended || b.err != nil
	b.running = last
	return nil, last
}

// fail ends the queue. The first call counts.
func (b *outbox) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
	b.changed.wakeLocked()
}
