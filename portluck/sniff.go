package portluck

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"syscall"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/matchers"
)

// These are the errors that OnError gets for a connection that did not become a client, besides
// those of package handlers.
var (
	// ErrUnmatched means that no route matches the first bytes, and raw clients are refused.
	ErrUnmatched = errors.New("portluck: unknown protocol")
	// ErrStalled means that a client stopped too early: the first bytes fit more than one protocol
	// at SniffTimeout, a ClientHello was incomplete by then, or the head of an HTTP/1 request, the
	// first or a later one, was incomplete at HeaderTimeout.
	ErrStalled = handlers.ErrStalled
	// ErrShed means that more than MaxSniffing connections were being classified, and this one was
	// the oldest.
	ErrShed = errors.New("portluck: too many undecided connections")
	// ErrLimit means that there were MaxConns connections already, or MaxConnsPerIP of this
	// address.
	ErrLimit = errors.New("portluck: too many connections")
	// ErrNoTLS means that a client wants TLS and the server has no TLSConfig.
	ErrNoTLS = errors.New("portluck: TLS is not configured")
	// ErrProxy means that a PROXY header was malformed, missing where it is required, or sent where
	// it is not allowed.
	ErrProxy = errors.New("portluck: PROXY header")
	// ErrMatcher means that a matcher of the program panicked or called [runtime.Goexit].
	ErrMatcher = errors.New("portluck: matcher panicked")
)

// judge classifies the first bytes b of c. If it returns neither a route nor an error, it needs
// need bytes in all.
func (p *port) judge(c *conn, b []byte, eof, late bool) (r *route, need int, err error) {
	p.judging.Add(1)
	defer func() {
		p.judged.Add(1)
		p.judging.Add(-1)
	}()
	if p.foreign {
		r, need, err = p.classifyApart(c.hello(b, eof), late)
	} else {
		err = handlers.Guard(func() { r, need = p.classify(c.hello(b, eof), late) })
	}
	if err != nil {
		p.log.panicked(c.Info(), err) // the caller may have c judged again
		return nil, 0, fmt.Errorf("%w: %w", ErrMatcher, err)
	}
	return r, need, nil
}

// classifyApart is classify in a goroutine of its own: a matcher of the program may end it, and
// the caller's goroutine serves other connections too. The error is a panic or that end.
func (p *port) classifyApart(h matchers.Hello, late bool) (r *route, need int, err error) {
	done := make(chan error, 1)
	go func() { // ends with the matchers
		done <- handlers.GuardExit(func() { r, need = p.classify(h, late) }, func(err error) { done <- err })
	}()
	err = <-done
	return r, need, err
}

// look classifies the first bytes b of a connection. With eof no more will come. skip is the
// number of bytes, of a PROXY header, to consume before looking again. If route, skip and err are
// all zero, look needs more bytes.
func (p *port) look(c *conn, b []byte, eof bool) (r *route, skip int, err error) {
	if c.unproxied {
		return p.lookProxy(c, b, eof)
	}
	switch {
	case len(p.srv.SpeakFirst) > 0 && p.speaksFirst(c):
		return p.named.silent, 0, nil
	case len(b) == 0 && eof:
		return nil, 0, io.EOF
	case len(b) == 0:
		return nil, 0, nil
	}
	whole := eof || len(b) >= matchers.Window // no matcher sees more
	switch {
	case c.chosen == nil || c.chosen == p.named.request:
		r, err = p.choose(c, b, eof, whole)
	case len(b) >= c.need || whole:
		r = c.open(c.chosen, b, whole)
	}
	return r, 0, err
}

// choose asks the routes for c. It returns nil while no route is chosen or the opening of the
// chosen one is incomplete. Routes that are undecided while c begins an HTTP/1 request get to see
// the whole head. Routes that are undecided after a whole ClientHello are passed over: the client
// waits for the server.
func (p *port) choose(c *conn, b []byte, eof, whole bool) (r *route, err error) {
	if late := whole || c.saysHello(b); late || len(b) >= c.need {
		r, c.need, err = p.judge(c, b, eof, late)
	}
	switch {
	case err != nil:
		return nil, err
	case r != nil:
		return c.open(r, b, whole), nil
	case whole:
		return nil, ErrStalled
	}
	before := c.chosen
	c.chosen = p.begins(c, b)
	switch t := p.srv.sniffTimeout(); {
	case before == nil && c.chosen != nil:
		c.since = time.Now()
	case before != nil && c.chosen == nil && t > 0 && time.Since(c.since) >= t:
		return p.passOver(c, b) // the undecided routes have had their time
	}
	return nil, nil
}

// begins returns named.request while b is an incomplete head of an HTTP/1 request, else nil.
func (p *port) begins(c *conn, b []byte) *route {
	if headNeed(b) > 0 && c.speaksHTTP1(b) {
		return p.named.request
	}
	return nil
}

// speaksHTTP1 reports whether b certainly begins an HTTP/1 request, whatever follows.
func (c *conn) speaksHTTP1(b []byte) bool {
	h := c.hello(b, false)
	return matchers.HTTP2().Match(h) == matchers.No && matchers.HTTP1().Match(h) == matchers.Yes
}

// saysHello reports whether b contains a whole ClientHello.
func (c *conn) saysHello(b []byte) bool {
	if c.info.TLS != nil || len(b) == 0 || b[0] != recordHandshake {
		return false
	}
	_, whole := readHello(b)
	return whole
}

// open chooses r for c. It returns r once its opening is whole or fills the window, else nil. If
// the handler does not understand the opening it returns the alternative route of r.
func (c *conn) open(r *route, b []byte, whole bool) *route {
	c.chosen = nil
	if r.opening != nil {
		if need := r.opening.need(b); need > 0 && !whole {
			c.need, c.chosen = need, r
			return nil
		}
	}
	if r.plain != nil && !r.plain(&c.info, b) {
		return r.otherwise
	}
	return r
}

// speaksFirst reports whether the client of c is known to wait for the server to speak.
func (p *port) speaksFirst(c *conn) bool {
	return p.srv.OnSilence != nil && inPrefixes(p.srv.SpeakFirst, c.info.Remote.Addr())
}

// fails returns the error for a connection whose bytes cannot be read. If the peer reset it
// without sending anything, as health checks do, that is io.EOF.
func (c *conn) fails(err error) error {
	if c.seen == 0 && c.rest == 0 && isGone(err) {
		return io.EOF
	}
	return err
}

// isGone reports whether err means only that the peer, or the path to it, is gone.
func isGone(err error) bool {
	errno, ok := errors.AsType[syscall.Errno](err)
	return ok && slices.Contains(goneErrors, errno)
}

// goneErrors are the errors of a connection that was reset or whose peer is unreachable.
var goneErrors = []syscall.Errno{
	syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED, syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.ENETUNREACH,
	syscall.ENETDOWN, syscall.EHOSTDOWN,
}

// lookProxy is look for a PROXY header. The part of a long header that follows the addresses is
// consumed as it comes.
func (p *port) lookProxy(c *conn, b []byte, eof bool) (r *route, skip int, err error) {
	switch {
	case len(b) == 0 && eof && c.rest == 0:
		return nil, 0, io.EOF
	case len(b) == 0 && eof:
		return nil, 0, fmt.Errorf("%w: %w", ErrProxy, io.ErrUnexpectedEOF)
	case c.rest == 0:
		h, n, err := parseProxy(b)
		switch {
		case err != nil:
			return nil, 0, fmt.Errorf("%w: %w", ErrProxy, err)
		case n == 0 && eof:
			return nil, 0, fmt.Errorf("%w: %w", ErrProxy, io.ErrUnexpectedEOF)
		case n == 0:
			return nil, 0, nil
		}
		c.rest = n
		if h.remote.IsValid() {
			c.info.Remote, c.info.Local = h.remote, h.local
			if !p.limits.rename(c, peerOf(h.remote)) {
				p.stats.refused.Add(1)
				return nil, 0, ErrLimit
			}
		}
	}
	skip = min(len(b), c.rest)
	if c.rest -= skip; c.rest == 0 {
		c.proxied, c.unproxied = true, false
	}
	return nil, skip, nil
}

// expire decides what happens to a connection whose time is up. It returns the route to serve it
// or the error to drop it with. If both are nil the connection stays: undecided, perhaps to be
// announced, or with its route chosen. The error is io.EOF, which is not a failure, for a
// connection that sent nothing.
func (p *port) expire(c *conn, b []byte) (*route, error) {
	switch {
	case c.unproxied:
		p.stats.proxyTimeouts.Add(1)
		return nil, fmt.Errorf("%w: %w", ErrProxy, handlers.ErrTimeout)
	case c.waiting && c.seen == 0:
		return nil, io.EOF
	case c.seen == 0 && p.srv.OnSilence != nil:
		return p.named.silent, nil
	case c.seen == 0:
		return nil, nil
	case c.chosen == nil:
		return p.decideLate(c, b)
	}
	return nil, p.stall(c, b)
}

// decideLate decides about bytes that are still undecided when their time is up. A client has
// stalled if it may still become one of the server's protocols, or if no route matches and it has
// not sent a whole line.
func (p *port) decideLate(c *conn, b []byte) (*route, error) {
	r, err := p.passOver(c, b)
	switch {
	case r != nil || err != nil || c.chosen != nil:
		return r, err
	case p.srv.OnStall != nil:
		p.stats.stalled.Add(1)
		return p.named.stalled, nil
	}
	return nil, p.stall(c, b)
}

// undecidedBytes reports whether c has sent bytes that no route has claimed yet.
func (c *conn) undecidedBytes() bool { return c.seen > 0 && c.chosen == nil && !c.unproxied }

// passOver decides without the routes of the program that are still undecided, such as matchers
// written for cmux. If it returns neither a route nor an error, c is undecided or its route is
// chosen but its opening incomplete.
func (p *port) passOver(c *conn, b []byte) (*route, error) {
	r, _, err := p.judge(c, b, false, true)
	if err != nil || r == nil || r == p.named.unmatched && bytes.IndexByte(b, '\n') < 0 {
		return nil, err
	}
	return c.open(r, b, false), nil
}

// stall returns the error that ends a connection whose first message stayed incomplete. An HTTP/1
// client gets an answer.
func (p *port) stall(c *conn, b []byte) error {
	p.stats.stalled.Add(1)
	if c.speaksHTTP1(b) {
		c.info.Protocol = handlers.ProtocolHTTP1
		c.farewell = handlers.AppendRefusal(nil, http.StatusRequestTimeout, requestTimeout)
	}
	return ErrStalled
}

// requestTimeout answers a client that began an HTTP request and stopped (RFC 9110, section
// 15.5.9).
const requestTimeout = "The request did not come in time."
