// Package matchers tells protocols apart by the first bytes that a client sends.
//
// A [Matcher] is a pure function of those bytes: it never reads, writes, blocks, keeps or changes
// anything, and says [Need] while more bytes could change its mind. Its Yes and its No are final.
// The port asks the matchers of its routes in order, and a route wins only when every earlier one
// said No, so the result never depends on how the network cut the bytes into segments.
package matchers

import (
	"crypto/tls"
	"net/netip"
)

// Window is how many first bytes a matcher may see: enough for a ClientHello of the largest TLS
// record. Matchers of text protocols look at [TextWindow] bytes at the most.
const (
	Window     = 16<<10 + 5
	TextWindow = 4 << 10
)

// A Verdict is what a matcher says of the first bytes: [No], [Yes] or [Need].
type Verdict int

// The final verdicts.
const (
	No  Verdict = 0
	Yes Verdict = -1
)

// Need is the verdict that at least n bytes in all are needed to tell. It says at least one more
// than there are.
func Need(n int) Verdict { return Verdict(n) }

// Needed is how many bytes in all an undecided verdict asks for, and 0 for Yes and No.
func (v Verdict) Needed() int { return max(int(v), 0) }

// Hello is all that a matcher may look at. It is valid during the call only.
type Hello struct {
	Bytes []byte // what the client has sent so far, from byte 0 of this layer
	EOF   bool   // nothing more will come: a matcher must say Yes or No
	// Local and Remote are the ends of the connection; zero on a Unix socket.
	Local, Remote netip.AddrPort
	TLS           *tls.ConnectionState // of the layer around; nil on a plain connection
}

// A Matcher recognises one protocol. Match may be called by several goroutines at once.
type Matcher interface {
	Match(h Hello) Verdict
}

// MatcherFunc is a func that is a [Matcher].
type MatcherFunc func(h Hello) Verdict

// Match calls f.
func (f MatcherFunc) Match(h Hello) Verdict { return f(h) }

// builtin is a matcher of this package, in which no code of the program runs: it returns.
type builtin func(h Hello) Verdict

// Match calls f.
func (f builtin) Match(h Hello) Verdict { return f(h) }
