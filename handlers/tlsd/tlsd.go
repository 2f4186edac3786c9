// Package tlsd terminates TLS and passes on what is inside.
//
// A [Handler] makes the handshake and then lets ALPN choose (RFC 7301): the handler of the protocol
// that was agreed gets the untouched *tls.Conn. Only a client that offered no protocol at all is
// decided again by its first bytes. One that offered protocols of which none is served is refused,
// so that what was meant for one service never reaches another that has the same certificate
// (https://alpaca-attack.com).
//
// [Certificates] is a certificate in files that may be replaced while the server runs. [RequireTLS]
// answers those who speak plain HTTP to a port that wants TLS.
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
	// Config has the certificates. Without it every connection is refused. It is cloned at the
	// first connection: TLS 1.2 is the least version whatever MinVersion says, and NextProtos is
	// what ALPN has a handler for, in the order of Config.NextProtos, then the rest, "h2" and
	// "http/1.1" last.
	Config *tls.Config
	// ALPN has the handlers by the protocol that was agreed. A client that offers only others is
	// refused, by the alert no_application_protocol; one that offers none goes to
	// [handlers.Port.Route]. The handlers get a [handlers.Conn] whose NetConn is a *tls.Conn of
	// which nothing has been read. [handlers.Refuse] is enough for "acme-tls/1".
	ALPN map[string]handlers.Handler
	// HandshakeTimeout bounds the handshake as a whole; 10 seconds if zero, no bound if negative.
	// The context of the Config's callbacks ends with it, and when a port that is a
	// [handlers.Handshaker] gives up.
	HandshakeTimeout time.Duration
	// StrictSNI refuses a client that asks for a name that no certificate has, by the alert
	// unrecognized_name. One that asks for no name is served.
	StrictSNI bool

	once sync.Once
	base *tls.Config // made of Config
}

var _ handlers.Handler = (*Handler)(nil)

// Serve makes the handshake in a goroutine of its own, and passes the connection on. A handshake
// that fails is reported with [handlers.Port.Fail]. Serve may be called by any number of goroutines
// at once.
func (h *Handler) Serve(c handlers.Conn, p handlers.Port) {
	h.once.Do(h.init)
	if h.base == nil {
		fail(c, p, fmt.Errorf("no TLS configuration: %w", handlers.ErrPolicy))
		return
	}
	p.Go(func() { h.guarded(c, p) }) // ends by HandshakeTimeout, or when the inner handler returns
}

// guarded is serve, in which a panic of the program's TLS callbacks costs this connection only.
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

// handshake makes the handshake. Its context, which the callbacks of the Config may wait for, ends
// at the deadline and when the port gives up handshakes. The connection is closed then.
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

// pass hands the inner layer to the protocol that was agreed, or to the port.
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
