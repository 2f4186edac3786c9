package loop

import (
	"bytes"
	"errors"

	"github.com/portluck/portluck/handlers"
)

// lines is a codec of lines that end with a line feed, which the last one may lack. Package raw
// imports this package, so these tests cannot use its codec.
type lines struct{}

func (*lines) Decode(in []byte, m *handlers.Messages) (n int, err error) {
	for {
		i := bytes.IndexByte(in[n:], '\n')
		if i < 0 {
			break
		}
		m.Deliver(handlers.Message{Data: in[n : n+i]})
		n += i + 1
	}
	if m.EOF && n < len(in) {
		m.Deliver(handlers.Message{Data: in[n:]})
		n = len(in)
	}
	return n, nil
}

func (*lines) AppendWrite(dst, p []byte, _ handlers.Kind) []byte { return append(dst, p...) }

func (*lines) AppendMessage(dst, msg []byte, k handlers.Kind) []byte {
	return lineFeed{}.AppendMessage(dst, msg, k)
}

// AppendClose sends a text for a panic and for a refusal.
func (*lines) AppendClose(dst []byte, reason error) []byte {
	switch {
	case errors.Is(reason, handlers.ErrPanic):
		return append(dst, "error: internal server error\n"...)
	case errors.Is(reason, handlers.ErrPolicy):
		return append(dst, "error: refused\n"...)
	}
	return dst
}

func (*lines) Framing(handlers.Codec) handlers.Framing { return lineFeed{} }

// lineFeed is the framing of lines.
type lineFeed struct{}

func (lineFeed) AppendMessage(dst, msg []byte, _ handlers.Kind) []byte {
	return append(append(dst, msg...), '\n')
}
