package matchers

import (
	"bytes"
	"io"
	"slices"

	"github.com/soheilhy/cmux"
)

// Cmux returns a matcher for a bare cmux that matches what m matches. Like cmux's own matchers it
// blocks until m has decided: set a read timeout.
func Cmux(m Matcher) cmux.Matcher {
	refuseNil("Cmux", m)
	return func(r io.Reader) bool {
		b := make([]byte, 0, 512)
		eof := false
		for {
			switch v := m.Match(Hello{Bytes: b, EOF: eof}); {
			case v == Yes:
				return true
			case v == No || eof || len(b) >= Window:
				return false
			}
			b = slices.Grow(b, 1)
			n, err := r.Read(b[len(b):min(cap(b), Window)])
			b, eof = b[:len(b)+n], err != nil
		}
	}
}

// FromCmux returns a Matcher that runs a cmux matcher. It runs f again, over all bytes so far,
// whenever more have come, and is undecided while f reads to the end of them without a match. f
// cannot say No before it has read all that it wants. So a client of another protocol that sends
// less waits for the SniffTimeout of the server, and is then served as whatever it is by then. A
// TLS client, which waits for the server after its ClientHello, has this delay only inside TLS.
//
// Nothing is written while matchers decide. Matchers that need the server to send SETTINGS first,
// such as those of the MatchWithWriters kind, have no equivalent. A matcher for the header fields
// of an HTTP/2 request sees them only if the client does not wait for SETTINGS: mount a handler
// for such requests instead. FromCmux panics if f is nil.
func FromCmux(f cmux.Matcher) Matcher {
	if f == nil {
		panic("matchers: FromCmux: the matcher is nil")
	}
	return MatcherFunc(func(h Hello) Verdict {
		r := peeked{in: bytes.NewReader(h.Bytes)}
		switch {
		case f(&r):
			return Yes
		case r.end && len(h.Bytes) < Window:
			return more(h, len(h.Bytes)+1)
		}
		return No
	})
}

// peeked reads the bytes that have come so far and records whether more were wanted. It has no
// other methods, so that f cannot read around it.
type peeked struct {
	in  *bytes.Reader
	end bool
}

// Read implements [io.Reader].
func (p *peeked) Read(b []byte) (int, error) {
	n, err := p.in.Read(b)
	p.end = p.end || n < len(b)
	return n, err
}
