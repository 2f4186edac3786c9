package raw

import (
	"bytes"
	"errors"
	"math"
	"net/http"
	"strconv"

	"github.com/portluck/portluck/handlers"
)

// Lines is a codec whose messages end with a delimiter. The delimiter is not part of the message; a
// carriage return before a line feed is. What is left when the peer closes its half is the last
// message, unless it is empty. Between two delimiters there is always a message, if need be an
// empty one, however the network has cut the stream.
//
// The zero value is ready and serves one connection. It costs 48 bytes.
type Lines struct {
	// Delimiter ends a message; "\n" if empty.
	Delimiter string
	// Limit is how many bytes a message may have; [DefaultLimit] if zero, no limit if negative. A
	// longer one ends the client with [handlers.ErrTooLong].
	Limit int
	// Tail keeps the last Limit bytes of a longer message instead. What is before them takes no
	// memory.
	Tail bool
	// AllowHTTP lets a client go on that speaks HTTP. Without it a first line that is a request
	// line, like "POST /x HTTP/1.1", ends it with [handlers.ErrProtocol] before that line is
	// delivered: no web page can make its user's browser send messages in the body of a request. If
	// a delimiter other than a line end cuts that line, a line "Host: x" among the first 16 lines
	// ends it as well.
	AllowHTTP bool
	// AllowHalfOpen keeps a client that has closed its half until the program ends it. Without it
	// the client ends when it has got what was queued.
	AllowHalfOpen bool

	cut     bool  // Tail has dropped the beginning of this message
	method  bool  // what was dropped began like an HTTP request line
	guarded uint8 // lines that the guard has seen
	scanned int   // bytes of the message at hand in which no delimiter begins
}

var (
	_ handlers.Codec  = (*Lines)(nil)
	_ handlers.Framer = (*Lines)(nil)
)

// Decode is [handlers.Codec.Decode]. However the peer drips its bytes, each is looked at once.
func (l *Lines) Decode(in []byte, m *handlers.Messages) (n int, err error) {
	delim := l.delimiter()
	for {
		i := index(in[n+l.scanned:], delim)
		if i < 0 {
			break
		}
		i += l.scanned
		if err := l.deliver(in[n:n+i], m); err != nil {
			return n, err
		}
		n += i + len(delim)
	}
	rest := in[n:]
	if m.EOF {
		m.HalfOpen = l.AllowHalfOpen
		if len(rest) == 0 {
			return n, nil
		}
		return len(in), l.deliver(rest, m)
	}
	l.scanned = max(0, len(rest)-len(delim)+1)
	dropped, err := l.bound(rest)
	return n + dropped, err
}

// deliver checks and delivers a whole message.
func (l *Lines) deliver(msg []byte, m *handlers.Messages) error {
	limit := limitOf(l.Limit)
	tooLong := limit > 0 && len(msg) > limit
	if tooLong && !l.Tail {
		return handlers.ErrTooLong
	}
	if !l.cut && l.guards() && l.speaksHTTP(msg) || l.method && endsRequest(msg) { // l.method may be set by now
		return errHTTP
	}
	if tooLong {
		msg = msg[len(msg)-limit:]
	}
	l.scanned, l.cut, l.method = 0, false, false
	m.Deliver(handlers.Message{Data: msg})
	return nil
}

// bound sees to it that a message without end does not fill the memory: it says how many bytes of
// rest are of no use.
func (l *Lines) bound(rest []byte) (drop int, err error) {
	keep := limitOf(l.Limit)
	if keep < 0 || l.scanned <= keep {
		return 0, nil
	}
	if !l.Tail {
		return 0, handlers.ErrTooLong
	}
	if l.method || !l.cut && l.guards() {
		keep = max(keep, guardWindow)
		if l.scanned <= keep {
			return 0, nil
		}
	}
	if !l.cut && l.guards() && l.speaksHTTP(rest) {
		return 0, errHTTP
	}
	l.cut = true
	drop = l.scanned - keep
	l.scanned = keep
	return drop, nil
}

func (l *Lines) delimiter() string {
	if l.Delimiter == "" {
		return "\n"
	}
	return l.Delimiter
}

// AppendWrite appends p as it is.
func (l *Lines) AppendWrite(dst, p []byte, _ handlers.Kind) []byte { return append(dst, p...) }

// AppendMessage appends msg and the delimiter. A delimiter within msg is not treated in any way:
// the peer sees two messages.
func (l *Lines) AppendMessage(dst, msg []byte, k handlers.Kind) []byte {
	return delimited(l.delimiter()).AppendMessage(dst, msg, k)
}

// Framing is [handlers.Framer.Framing].
func (l *Lines) Framing(codec handlers.Codec) handlers.Framing {
	if codec != handlers.Codec(l) {
		return nil
	}
	return delimited(l.delimiter())
}

// delimited is the framing of messages that end with this delimiter.
type delimited string

// AppendMessage is [handlers.Framing.AppendMessage].
func (d delimited) AppendMessage(dst, msg []byte, _ handlers.Kind) []byte {
	return append(append(dst, msg...), d...)
}

// AppendClose tells a person at the other end what they did: a line for a message that was too
// long, for a panic, for a refusal and for a lack of memory, an HTTP response for an HTTP request.
// A normal end, a timeout and a shutdown need no words: FIN says it.
func (l *Lines) AppendClose(dst []byte, reason error) []byte {
	switch {
	case errors.Is(reason, handlers.ErrProtocol):
		return handlers.AppendRefusal(dst, http.StatusBadRequest, httpRefusal)
	case errors.Is(reason, handlers.ErrTooLong):
		dst = append(dst, "error: message longer than "...)
		dst = strconv.AppendInt(dst, int64(limitOf(l.Limit)), 10)
		dst = append(dst, " bytes"...)
	case errors.Is(reason, handlers.ErrPanic):
		dst = append(dst, "error: internal server error"...)
	case errors.Is(reason, handlers.ErrPolicy):
		dst = append(dst, "error: refused"...)
	case errors.Is(reason, handlers.ErrOverload):
		dst = append(append(dst, "error: "...), handlers.ErrOverload.Error()...)
	default:
		return dst
	}
	return append(dst, l.delimiter()...)
}

func index(b []byte, delim string) int {
	if len(delim) == 1 {
		return bytes.IndexByte(b, delim[0])
	}
	return bytes.Index(b, []byte(delim))
}

// sharedLines is Lines for one of many connections that share the fields. It costs 16 bytes.
type sharedLines struct {
	*Lines // only read

	scanned     uint32
	cut, method bool
	guarded     uint8
}

// Framing is [handlers.Framer.Framing].
func (s *sharedLines) Framing(handlers.Codec) handlers.Framing { return s.Lines.Framing(s.Lines) }

// Decode is [Lines.Decode].
func (s *sharedLines) Decode(in []byte, m *handlers.Messages) (n int, err error) {
	l := *s.Lines
	l.scanned, l.cut, l.method, l.guarded = int(s.scanned), s.cut, s.method, s.guarded
	n, err = l.Decode(in, m)
	s.scanned = uint32(min(uint64(l.scanned), math.MaxUint32)) // the rest is looked at twice
	s.cut, s.method, s.guarded = l.cut, l.method, l.guarded
	return n, err
}
