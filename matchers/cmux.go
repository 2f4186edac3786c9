package matchers

import (
	"bytes"
	"io"
	"slices"

	"github.com/soheilhy/cmux"
)

// Cmux makes a matcher of a bare cmux from m. It blocks until m has decided, as those do: set a
// read timeout.
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

// FromCmux makes a Matcher from one that was written for cmux. It is run again whenever more bytes
// have come, over what there is, and is undecided when it has read to the end of that without a
// match. Such a matcher cannot say No before it has read all that it wants, so a client of another
// protocol that sends less waits for the SniffTimeout of the server, and goes on as what it is
// then. A client of TLS, which waits for the server once it has sent its ClientHello, does so only
// inside TLS.
//
// Nothing is written while matchers decide. A matcher for which the server must send SETTINGS
// first, such as those of the MatchWithWriters kind, has no equivalent, and one of the fields of an
// HTTP/2 request sees them only if the client does not wait for SETTINGS: mount the handler of such
// requests.
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

// peeked reads what has come so far and remembers that more was wanted. There is no other way to
// read from it.
type peeked struct {
	in  *bytes.Reader
	end bool
}

// Read is io.Reader.
func (p *peeked) Read(b []byte) (int, error) {
	n, err := p.in.Read(b)
	p.end = p.end || n < len(b)
	return n, err
}
