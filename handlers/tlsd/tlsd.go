// Package tlsd terminates TLS and passes the connection inside on.
//
// A [Handler] makes the handshake and then chooses by ALPN (RFC 7301): the handler of the
// negotiated protocol gets the *tls.Conn, from which nothing has been read. If the client offered
// no protocol at all, the port decides again by its first bytes. If it offered only protocols that
// are not served, it is refused, so that data meant for one service never reaches another one with
// the same certificate (https://alpaca-attack.com).
//
// [Certificates] is a certificate in files that may be replaced while the server runs. [RequireTLS]
// answers clients that speak plain HTTP to a port that requires TLS.
package tlsd

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/grace"
)

const defaultHandshakeTimeout = 10 * time.Second

// A Handler terminates TLS. Its fields must not be changed once it serves.
type Handler struct {
	// Config has the certificates. If nil, every connection is refused. The Handler clones it at
	// the first connection and changes the clone: the minimum version is at least TLS 1.2, and
	// NextProtos lists the protocols that have a handler in ALPN, first those in Config.NextProtos
	// in that order, then the rest, with "h2" and "http/1.1" last.
	Config *tls.Config
	// ALPN maps negotiated protocols to handlers. A client that offers only other protocols is
	// refused with the alert no_application_protocol. One that offers none is passed to
	// [handlers.Port.Route]. The handlers get a [handlers.Conn] whose NetConn is a *tls.Conn from
	// which nothing has been read. For "acme-tls/1" [handlers.Refuse] is enough.
	ALPN map[string]handlers.Handler
	// HandshakeTimeout bounds the handshake as a whole; 10 seconds if zero, no bound if negative.
	// The context of the Config's callbacks ends after that time, and when a port that is a
	// [handlers.Handshaker] gives up handshakes.
	HandshakeTimeout time.Duration
	// StrictSNI refuses a client that asks for a name that no certificate has, with the alert
	// unrecognized_name. A client that asks for no name is served.
	StrictSNI bool

	once sync.Once
	base *tls.Config // adapted from Config
}

var _ handlers.Handler = (*Handler)(nil)

// Serve makes the handshake in its own goroutine and passes the connection on. It reports a failed
// handshake with [handlers.Port.Fail]. Several goroutines may call Serve at once.
func (h *Handler) Serve(c handlers.Conn, p handlers.Port) {
	h.once.Do(h.init)
	if h.base == nil {
		fail(c, p, fmt.Errorf("no TLS configuration: %w", handlers.ErrPolicy))
		return
	}
	p.Go(func() { h.guarded(c, p) }) // ends by HandshakeTimeout, or when the inner handler returns
}

// guarded calls serve so that a panic of the program's TLS callbacks closes this connection only.
func (h *Handler) guarded(c handlers.Conn, p handlers.Port) {
	failed := func(err error) { fail(c, p, err) }
	if err := handlers.GuardExit(func() { h.serve(c, p) }, failed); err != nil {
		failed(err)
	}
}

func (h *Handler) serve(c handlers.Conn, p handlers.Port) {
	nc, err := c.NetConn()
	if err != nil {
		fail(c, p, err)
		return
	}
	tc, err := h.handshake(nc, p)
	if err != nil {
		refuse(nc, err)
		fail(c, p, fmt.Errorf("TLS handshake: %w", err))
		return
	}
	h.pass(c, tc, p)
}

// fail closes a connection that did not become a client.
func fail(c handlers.Conn, p handlers.Port, err error) {
	c.Close()
	info := *c.Info()
	info.Protocol = handlers.ProtocolTLS
	p.Fail(&info, err)
}

// handshake makes the handshake. Its context, which the Config's callbacks get, ends at the
// deadline and when the port gives up handshakes. The connection is then closed.
func (h *Handler) handshake(nc net.Conn, p handlers.Port) (*tls.Conn, error) {
	var v verdict
	ctx := context.Background()
	if s, ok := p.(handlers.Handshaker); ok {
		ctx = s.HandshakeContext()
	}
	ctx = context.WithValue(ctx, verdictKey{}, &v)
	if t := h.handshakeTimeout(); t > 0 {
		var cancel context.CancelFunc
		ctx, cancel = grace.Context(ctx, nc, t)
		defer cancel()
	}
	tc := tls.Server(handlers.NewSwitch(nc), h.base) // so that the loop can take the connection over
	switch err := tc.HandshakeContext(ctx); {
	case err == nil:
		return tc, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case v.refused != nil:
		return nil, fmt.Errorf("%w (%w)", v.refused, err)
	default:
		return nil, err
	}
}

func (h *Handler) handshakeTimeout() time.Duration {
	return cmp.Or(h.HandshakeTimeout, defaultHandshakeTimeout)
}

// pass hands the inner layer to the handler of the negotiated protocol, or to the port if there is
// none.
func (h *Handler) pass(c handlers.Conn, tc *tls.Conn, p handlers.Port) {
	state := tc.ConnectionState()
	info := *c.Info()
	info.TLS = &state
	info.Protocol = state.NegotiatedProtocol
	inner := handlers.Wrap(c, tc, &info)
	if state.NegotiatedProtocol == "" {
		info.Protocol = handlers.ProtocolTLS
		p.Route(inner)
		return
	}
	h.ALPN[state.NegotiatedProtocol].Serve(inner, p)
}
