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

// Window is the maximum number of first bytes that a matcher sees: enough for a ClientHello in the
// largest TLS record. Matchers of text protocols look at no more than [TextWindow] bytes.
const (
	Window     = 16<<10 + 5
	TextWindow = 4 << 10
)

// A Verdict is a matcher's judgement of the first bytes: [No], [Yes] or [Need].
type Verdict int

// The final verdicts.
const (
	No  Verdict = 0
	Yes Verdict = -1
)

// Need returns the verdict that the matcher is undecided and needs at least n bytes in all. n must
// be greater than the number of bytes that the matcher has seen.
func Need(n int) Verdict { return Verdict(n) }

// Needed returns how many bytes in all an undecided verdict asks for. It returns 0 for Yes and No.
func (v Verdict) Needed() int { return max(int(v), 0) }

// Hello is everything that a matcher may look at. It is valid only during the call.
type Hello struct {
	Bytes []byte // what the client has sent so far, from byte 0 of this layer
	EOF   bool   // nothing more will come: a matcher must say Yes or No
	// Local and Remote are the addresses of the connection; zero on a Unix socket.
	Local, Remote netip.AddrPort
	TLS           *tls.ConnectionState // of the enclosing TLS connection; nil on a plain one
}

// A Matcher recognises one protocol. Match may be called by several goroutines at once.
type Matcher interface {
	Match(h Hello) Verdict
}

// MatcherFunc makes a [Matcher] of a func.
type MatcherFunc func(h Hello) Verdict

// Match calls f.
func (f MatcherFunc) Match(h Hello) Verdict { return f(h) }

// builtin is a matcher of this package that runs no code of the program, and so always returns.
type builtin func(h Hello) Verdict

// Match calls f.
func (f builtin) Match(h Hello) Verdict { return f(h) }
