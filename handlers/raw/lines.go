package raw

import (
	"bytes"
	"errors"
	"math"
	"net/http"
	"strconv"

	"github.com/portluck/portluck/handlers"
)

// Lines is a codec for messages that end with a delimiter. The delimiter is not part of the
// message; a carriage return before a line feed is. Two delimiters in a row make an empty message.
// When the peer closes its half of the connection, the bytes that are left, if any, are the last
// message. Messages do not depend on how the network cuts the stream.
//
// The zero value is ready and serves one connection. It takes 48 bytes.
type Lines struct {
	// Delimiter ends a message; "\n" if empty.
	Delimiter string
	// Limit is the length of the longest message in bytes; [DefaultLimit] if zero, no limit if
	// negative. A longer message ends the client with [handlers.ErrTooLong].
	Limit int
	// Tail delivers the last Limit bytes of a longer message instead. The bytes before them are
	// dropped while they arrive.
	Tail bool
	// AllowHTTP serves clients that speak HTTP. Without it a client whose first line is a request
	// line, such as "POST /x HTTP/1.1", ends with [handlers.ErrProtocol] before that line is
	// delivered. Thus no web page can make its user's browser send messages in the body of a
	// request. If the delimiter is not a line end and cuts the request line, a line such as
	// "Host: x" among the first 16 ends the client too.
	AllowHTTP bool
	// AllowHalfOpen keeps a client that has closed its half of the connection until the program
	// ends it. Without it the client ends once the queued replies are sent.
	AllowHalfOpen bool

	cut     bool  // Tail has dropped the beginning of the current message
	method  bool  // the message began like an HTTP request line whose end has not been seen
	guarded uint8 // lines that the HTTP guard has examined
	scanned int   // leading bytes of the current message where no delimiter begins
}

var (
	_ handlers.Codec  = (*Lines)(nil)
	_ handlers.Framer = (*Lines)(nil)
)

// Decode implements [handlers.Codec.Decode]. It searches each byte for the delimiter once, even if
// the peer sends single bytes.
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

// deliver checks a whole message and delivers it.
func (l *Lines) deliver(msg []byte, m *handlers.Messages) error {
	limit := limitOf(l.Limit)
	tooLong := len(msg) > limit
	if tooLong && !l.Tail {
		return handlers.ErrTooLong
	}
	// speaksHTTP may set l.method.
	if !l.cut && l.guards() && l.speaksHTTP(msg) || l.method && endsRequest(msg) {
		return errHTTP
	}
	if tooLong {
		msg = msg[len(msg)-limit:]
	}
	l.scanned, l.cut, l.method = 0, false, false
	m.Deliver(handlers.Message{Data: msg})
	return nil
}

// bound bounds the memory of an unfinished message. rest is what has arrived of it. bound returns
// how many leading bytes of rest to drop.
func (l *Lines) bound(rest []byte) (drop int, err error) {
	keep := limitOf(l.Limit)
	if l.scanned <= keep {
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

// AppendWrite appends p unchanged.
func (l *Lines) AppendWrite(dst, p []byte, _ handlers.Kind) []byte { return append(dst, p...) }

// AppendMessage appends msg and the delimiter. It does not escape a delimiter within msg: the peer
// sees two messages.
func (l *Lines) AppendMessage(dst, msg []byte, k handlers.Kind) []byte {
	return delimited(l.delimiter()).AppendMessage(dst, msg, k)
}

// Framing implements [handlers.Framer.Framing].
func (l *Lines) Framing(codec handlers.Codec) handlers.Framing {
	if codec != handlers.Codec(l) {
		return nil
	}
	return delimited(l.delimiter())
}

// delimited is the framing of messages that end with the delimiter that is its value.
type delimited string

// AppendMessage implements [handlers.Framing.AppendMessage].
func (d delimited) AppendMessage(dst, msg []byte, _ handlers.Kind) []byte {
	return append(append(dst, msg...), d...)
}

// AppendClose appends one line that tells a person at the other end why the connection ends, such
// as a message too long, a panic, a refusal, or a lack of memory; see [handlers.FarewellOf]. It
// answers an HTTP request with an HTTP response. It appends nothing for a normal end, a timeout or
// a shutdown.
func (l *Lines) AppendClose(dst []byte, reason error) []byte {
	switch {
	case reason == nil:
		return dst
	case errors.Is(reason, handlers.ErrProtocol):
		return handlers.AppendRefusal(dst, http.StatusBadRequest, httpRefusal)
	case errors.Is(reason, handlers.ErrTooLong):
		dst = append(dst, "error: message longer than "...)
		dst = strconv.AppendInt(dst, int64(limitOf(l.Limit)), 10)
		dst = append(dst, " bytes"...)
	default:
		f, _ := handlers.FarewellOf(reason)
		if f.Line == "" {
			return dst
		}
		dst = append(append(dst, "error: "...), f.Line...)
	}
	return append(dst, l.delimiter()...)
}

func index(b []byte, delim string) int {
	if len(delim) == 1 {
		return bytes.IndexByte(b, delim[0])
	}
	return bytes.Index(b, []byte(delim))
}

// sharedLines is the codec of one of many connections that share one Lines. It takes 16 bytes.
type sharedLines struct {
	*Lines // not changed

	scanned     uint32
	cut, method bool
	guarded     uint8
}

// Framing implements [handlers.Framer.Framing].
func (s *sharedLines) Framing(handlers.Codec) handlers.Framing { return s.Lines.Framing(s.Lines) }

// Decode implements [handlers.Codec.Decode]. It runs [Lines.Decode] with the state of s.
func (s *sharedLines) Decode(in []byte, m *handlers.Messages) (n int, err error) {
	l := *s.Lines
	l.scanned, l.cut, l.method, l.guarded = int(s.scanned), s.cut, s.method, s.guarded
	n, err = l.Decode(in, m)
	s.scanned = uint32(min(uint64(l.scanned), math.MaxUint32)) // later bytes are searched again
	s.cut, s.method, s.guarded = l.cut, l.method, l.guarded
	return n, err
}
