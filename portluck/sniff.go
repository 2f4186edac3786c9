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

// Errors that OnError gets for a connection that did not become a client, besides those of package
// handlers.
var (
	// ErrUnmatched means that no route knows the first bytes, and raw is refused.
	ErrUnmatched = errors.New("portluck: unknown protocol")
	// ErrStalled means that the first bytes may still become more than one protocol at
	// SniffTimeout, that a ClientHello is not whole by then, or that the head of an HTTP/1 request,
	// a connection's first or a later one, is not whole at HeaderTimeout.
	ErrStalled = handlers.ErrStalled
	// ErrShed means that more than MaxSniffing connections were being classified, and that this was
	// the oldest.
	ErrShed = errors.New("portluck: too many undecided connections")
	// ErrLimit means that there are MaxConns connections, or MaxConnsPerIP of this address.
	ErrLimit = errors.New("portluck: too many connections")
	// ErrNoTLS means that a client wants TLS and the server has no TLSConfig.
	ErrNoTLS = errors.New("portluck: TLS is not configured")
	// ErrProxy means that a PROXY header was malformed, missing where it is required, or sent where
	// it is not allowed.
	ErrProxy = errors.New("portluck: PROXY header")
	// ErrMatcher means that a matcher of the program panicked, or ended its goroutine.
	ErrMatcher = errors.New("portluck: matcher panicked")
)

// judge classifies the first bytes b of c. Without an error and a route it wants need bytes in all.
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
		p.log.panicked(c.Info(), err) // who peeks again may ask once more
		return nil, 0, fmt.Errorf("%w: %w", ErrMatcher, err)
	}
	return r, need, nil
}

// classifyApart is classify in a goroutine of its own, which a matcher of the program may end: the
// caller's serves others. The error is a panic, or that end.
func (p *port) classifyApart(h matchers.Hello, late bool) (r *route, need int, err error) {
	done := make(chan error, 1)
	go func() { // ends with the matchers
		done <- handlers.GuardExit(func() { r, need = p.classify(h, late) }, func(err error) { done <- err })
	}()
	err = <-done
	return r, need, err
}

// look says what the first bytes b of a connection make of it. With eof there will be no more. skip
// is how many bytes are to be taken off first: a PROXY header. With neither a route, bytes to skip,
// nor an error it needs more.
func (p *port) look(c *conn, b []byte, eof bool) (r *route, skip int, err error) {
	if c.unproxied {
		return p.lookProxy(c, b, eof)
	}
	switch {
	case len(p.srv.SpeakFirst) > 0 && p.speaksFirst(c):
		return p.named.silent, 0, nil
	case len(b) == 0 && eof:
		return p.leave(c)
	case len(b) == 0:
		return nil, 0, nil
	}
	whole := eof || len(b) >= matchers.Window // nobody will see more
	switch {
	case c.chosen == nil || c.chosen == p.named.request:
		r, err = p.choose(c, b, eof, whole)
	case len(b) >= c.need || whole:
		r = c.open(c.chosen, b, whole)
	}
	return r, 0, err
}

// choose asks the routes for c. It returns nil while none is chosen, or the opening of the one that
// is is not whole. A route that is undecided while c begins a request of HTTP/1 sees its whole
// head. One that is undecided when it has seen a whole ClientHello is passed over: the client waits
// for the server.
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
		return p.passOver(c, b) // they have had their time
	}
	return nil, nil
}

// begins returns named.request while b is part of the head of a request of HTTP/1, else nil.
func (p *port) begins(c *conn, b []byte) *route {
	if headNeed(b) > 0 && c.speaksHTTP1(b) {
		return p.named.request
	}
	return nil
}

// speaksHTTP1 reports whether b begins a request of HTTP/1 for certain, however it goes on.
func (c *conn) speaksHTTP1(b []byte) bool {
	h := c.hello(b, false)
	return matchers.HTTP2().Match(h) == matchers.No && matchers.HTTP1().Match(h) == matchers.Yes
}

// saysHello reports whether b has a whole ClientHello.
func (c *conn) saysHello(b []byte) bool {
	if c.info.TLS != nil || len(b) == 0 || b[0] != recordHandshake {
		return false
	}
	_, whole := readHello(b)
	return whole
}

// open chooses r, and returns it once its opening is whole, or as much of it as anybody will see.
// For an opening that is not plain to its handler it returns another route.
func (c *conn) open(r *route, b []byte, whole bool) *route {
	c.chosen = nil
	if r.opening != nil {
		if need := r.opening.need(b); need > 0 && !whole {
			c.need, c.chosen = need, r
			return nil
		}
	}
	if r.plain != nil && !r.plain(b) {
		return r.otherwise
	}
	return r
}

// speaksFirst reports whether c waits for the server.
func (p *port) speaksFirst(c *conn) bool {
	return p.srv.OnSilence != nil && inPrefixes(p.srv.SpeakFirst, c.info.Remote.Addr())
}

// fails is for a connection whose bytes cannot be read. A peer that has reset it without a word, as
// health checks do, has gone: that is io.EOF.
func (c *conn) fails(err error) error {
	if c.seen == 0 && c.rest == 0 && c.pending == nil && isGone(err) {
		return io.EOF
	}
	return err
}

// isGone reports whether err only means that the peer, or the way to it, is gone.
func isGone(err error) bool {
	errno, ok := errors.AsType[syscall.Errno](err)
	return ok && slices.Contains(goneErrors, errno)
}

// goneErrors are those of a connection that was reset, or whose peer cannot be reached any more.
var goneErrors = []syscall.Errno{
	syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED, syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.ENETUNREACH,
	syscall.ENETDOWN, syscall.EHOSTDOWN,
}

// leave is for a client that has gone without a word: no event for one that was not announced.
func (p *port) leave(c *conn) (*route, int, error) {
	if c.pending != nil {
		return p.named.unmatched, 0, nil
	}
	return nil, 0, io.EOF
}

// lookProxy is look for a PROXY header. Of one that is longer than what tells the addresses the
// rest is taken off as it comes.
func (p *port) lookProxy(c *conn, b []byte, eof bool) (r *route, skip int, err error) {
	switch {
	case len(b) == 0 && eof && c.rest == 0:
		return p.leave(c)
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

// expire is for a connection whose time is up. It says where it goes; nil, and no error, means that
// it stays: as undecided as it was, to be announced perhaps, or with its route chosen. The error of
// one that has said nothing at all, and that nobody knows of, is io.EOF: that is no failure.
func (p *port) expire(c *conn, b []byte) (*route, error) {
	switch {
	case c.unproxied:
		p.stats.proxyTimeouts.Add(1)
		return nil, fmt.Errorf("%w: %w", ErrProxy, handlers.ErrTimeout)
	case c.waiting && c.seen == 0 && c.pending != nil:
		return nil, handlers.ErrTimeout
	case c.waiting && c.seen == 0:
		return nil, io.EOF // it was never announced
	case c.seen == 0 && p.srv.OnSilence != nil:
		return p.named.silent, nil
	case c.seen == 0:
		return nil, nil
	case c.chosen == nil:
		return p.decideLate(c, b)
	}
	return nil, p.stall(c, b)
}

// decideLate is for bytes that are undecided at the end of their time. A client that may still
// become one of the server's protocols has stalled, and so has one that nobody knows, unless it has
// sent a line.
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

// undecidedBytes reports whether c has sent something that belongs to no route yet.
func (c *conn) undecidedBytes() bool { return c.seen > 0 && c.chosen == nil && !c.unproxied }

// passOver decides without the routes of the program that cannot say by now, be it only since they
// were written for cmux. Without a route or an error c is undecided, or has its route chosen.
func (p *port) passOver(c *conn, b []byte) (*route, error) {
	r, _, err := p.judge(c, b, false, true)
	if err != nil || r == nil || r == p.named.unmatched && bytes.IndexByte(b, '\n') < 0 {
		return nil, err
	}
	return c.open(r, b, false), nil
}

// stall ends a connection that has stopped before its first message was whole. One that speaks
// HTTP/1 is told.
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
