package httpd

import (
	"bytes"
	"sync"

	"github.com/portluck/portluck/handlers"
)

var readBuffers = sync.Pool{New: func() any { return new([8 << 10]byte) }}

// splitter makes messages of a body: each line feed ends one and is not part of it, and the rest is the last one unless
// it is empty. What it delivers is valid during the call.
type splitter struct {
	limit int // no bound if negative
	tail  bool
	part  []byte // of a line that has not ended; at most twice limit
}

// feed delivers the messages that end in p. It ends with the error of deliver, or [handlers.ErrTooLong].
func (s *splitter) feed(p []byte, deliver func(msg []byte) error) error {
	for {
		line, rest, ok := bytes.Cut(p, []byte("\n"))
		if !ok {
			return s.keep(p)
		}
		if len(s.part) > 0 {
			if err := s.keep(line); err != nil {
				return err
			}
			line = s.part
			s.part = s.part[:0]
		}
		line, err := s.fit(line)
		if err != nil {
			return err
		}
		if err := deliver(line); err != nil {
			return err
		}
		p = rest
	}
}

// end delivers the last message.
func (s *splitter) end(deliver func(msg []byte) error) error {
	if len(s.part) == 0 {
		return nil
	}
	line, err := s.fit(s.part)
	if err != nil {
		return err
	}
	return deliver(line)
}

// keep keeps a part of a line. Of a tail it keeps more than limit, so that it is not moved at each call.
func (s *splitter) keep(p []byte) error {
	if s.limit >= 0 && len(s.part)+len(p) > s.limit {
		if !s.tail {
			return handlers.ErrTooLong
		}
		p = p[max(0, len(p)-s.limit):]
		if len(s.part)+len(p) > 2*s.limit {
			drop := len(s.part) - max(0, s.limit-len(p))
			s.part = s.part[:copy(s.part, s.part[drop:])]
		}
	}
	s.part = append(s.part, p...)
	return nil
}

func (s *splitter) fit(line []byte) ([]byte, error) {
	switch {
	case s.limit < 0 || len(line) <= s.limit:
		return line, nil
	case s.tail:
		return line[len(line)-s.limit:], nil
	}
	return nil, handlers.ErrTooLong
}
