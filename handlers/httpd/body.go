package httpd

import (
	"bytes"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/parts"
)

// splitter splits a body into messages. Each line feed ends a message and is not part of it; what
// follows the last line feed is a message unless it is empty. A message is valid during the call of
// deliver.
type splitter struct {
	in    parts.Buffer
	limit int // no bound if negative
	tail  bool
	extra int // bytes that net/http buffers of a body whose message is incomplete

	scanned int       // bytes of the current message searched for a line feed
	by      time.Time // when the current message must be complete; zero between messages
	told    bool      // the last call of feed has delivered a message
	kept    int       // extra, while it is taken from the budget
}

// bound returns when the current message must be complete if it may take d. It returns the zero
// time if there is no bound.
func (s *splitter) bound(d time.Duration) time.Time {
	switch {
	case d <= 0 || s.scanned == 0:
		s.by = time.Time{}
	case s.told || s.by.IsZero():
		s.by = time.Now().Add(d)
	}
	return s.by
}

// feed delivers the complete messages, and the last one too if whole is set, and counts the
// beginning of the next message. It returns the error of deliver, [handlers.ErrTooLong] or
// [handlers.ErrOverload].
func (s *splitter) feed(whole bool, deliver func(msg []byte) error) error {
	s.told = false
	for {
		data := s.in.Bytes()
		i := bytes.IndexByte(data[s.scanned:], '\n')
		if i < 0 {
			break
		}
		end := s.scanned + i
		s.scanned, s.told = 0, true
		if err := s.deliver(data[:end], deliver); err != nil {
			return err
		}
		s.in.Took(end + 1)
	}
	if rest := s.in.Bytes(); whole && len(rest) > 0 {
		return s.deliver(rest, deliver)
	}
	return s.keep()
}

// deliver delivers one message. With Tail it delivers only the end of a message that is too long.
func (s *splitter) deliver(line []byte, deliver func(msg []byte) error) error {
	if s.limit >= 0 && len(line) > s.limit {
		if !s.tail {
			return handlers.ErrTooLong
		}
		line = line[len(line)-s.limit:]
	}
	return deliver(line)
}

// keep keeps the beginning of a message. With Tail it keeps only the last bytes, up to the limit.
func (s *splitter) keep() error {
	n := len(s.in.Bytes())
	if s.limit >= 0 && n > s.limit {
		if !s.tail {
			return handlers.ErrTooLong
		}
		s.in.Took(n - s.limit)
		n = s.limit
	}
	s.scanned = n
	extra := s.extra
	if n == 0 {
		extra = 0
	}
	if extra != s.kept && !s.in.Budget.Take(extra-s.kept) {
		return s.in.Budget.Refuse()
	}
	s.kept = extra
	return s.in.Keep()
}

// release gives the memory of the kept bytes back to the budget.
func (s *splitter) release() {
	s.in.Budget.Take(-s.kept)
	s.kept = 0
	s.in.Release()
}
