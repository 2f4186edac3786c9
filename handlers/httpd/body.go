package httpd

import (
	"bytes"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/parts"
)

// splitter makes messages of a body: each line feed ends one and is not part of it, and the rest is
// the last one unless it is empty. What it delivers is valid during the call.
type splitter struct {
	in    parts.Buffer
	limit int // no bound if negative
	tail  bool
	extra int // bytes that net/http keeps of a body whose message is not whole

	scanned int       // bytes of the message at hand that have no line feed
	by      time.Time // when it must be whole; zero between messages
	told    bool      // the last feed has delivered a message
	kept    int       // extra, while it counts
}

// bound returns when the message at hand must be whole if it may take d; zero for no bound.
func (s *splitter) bound(d time.Duration) time.Time {
	switch {
	case d <= 0 || s.scanned == 0:
		s.by = time.Time{}
	case s.told || s.by.IsZero():
		s.by = time.Now().Add(d)
	}
	return s.by
}

// feed delivers the messages that have ended, with whole also the last one, and counts the
// beginning of the next. It ends with the error of deliver, [handlers.ErrTooLong] or
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

// deliver delivers one message, or the end of it that Tail asks for.
func (s *splitter) deliver(line []byte, deliver func(msg []byte) error) error {
	if s.limit >= 0 && len(line) > s.limit {
		if !s.tail {
			return handlers.ErrTooLong
		}
		line = line[len(line)-s.limit:]
	}
	return deliver(line)
}

// keep keeps the beginning of a message, of which the end is enough for Tail.
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

// release gives all that is kept back.
func (s *splitter) release() {
	s.in.Budget.Take(-s.kept)
	s.kept = 0
	s.in.Release()
}
