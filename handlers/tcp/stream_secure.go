package tcp

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/grace"
	"github.com/portluck/portluck/handlers/internal/linger"
)

const (
	defaultHandshakeTimeout = 10 * time.Second
	alertTime               = time.Second // for a peer to read why its handshake has failed
	alertBytes              = 64 << 10    // from the peer that are dropped meanwhile
)

// Errors of secure streams.
var (
	// ErrNotSecure means that a stream is not TLS, or that its handshake is not complete.
	ErrNotSecure = errors.New("stream is not a secure stream")
	// ErrSecure means that SetSecure was called before.
	ErrSecure = errors.New("stream is secure already")
	// ErrNoCertificate means that the peer has sent no certificate.
	ErrNoCertificate = errors.New("the peer has shown no certificate")
	// ErrNoCAs means that a server has no ClientCAs to verify a client's certificate with.
	ErrNoCAs = errors.New("no CAs to verify the client with")
)

// SetSecure starts TLS on an open stream: as the server if a [Server] has accepted the stream, else
// as the client. What was written before is sent in the clear. What is written from then on waits
// for the handshake, and all that the peer sends from then on is TLS. Call SetSecure in an event of
// the stream, or while the stream is paused, so that it is clear where TLS begins. OnSecure follows
// a complete handshake, OnError and OnClose one that fails.
//
// A server asks for the client's certificate if config has ClientCAs. A certificate that cannot be
// verified does not fail the handshake: [Stream.VerifyPeer] returns why. It does fail the handshake
// of a client whose config has a ServerName and not InsecureSkipVerify, and of a server whose
// config.ClientAuth requires a valid certificate.
func (s *Stream) SetSecure(config *tls.Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.conn == nil || s.ended || s.fin || s.destroyed:
		return handlers.ErrClosed
	case s.securing || s.secureLocked():
		return ErrSecure
	case config == nil && !s.client:
		return errors.New("a server needs a TLS configuration with a certificate")
	}
	s.rareLocked().config = s.configLocked(config)
	s.securing = true
	s.conn.Pause()
	s.conn.Wake(0)
	return nil
}

// configLocked returns a copy of config with the defaults of a stream.
func (s *Stream) configLocked(config *tls.Config) *tls.Config {
	config = config.Clone()
	if config == nil {
		config = &tls.Config{}
	}
	switch {
	case s.client && config.ServerName == "":
		config.InsecureSkipVerify = true // VerifyPeer verifies
	case !s.client && config.ClientCAs != nil && config.ClientAuth == tls.NoClientCert:
		config.ClientAuth = tls.RequestClientCert
	}
	return config
}

// handshake performs the TLS handshake on nc, which has left the loop for it, and then gives the
// connection back to the loop. It runs in a goroutine of its own.
func (s *Stream) handshake(nc net.Conn) {
	s.mu.Lock()
	x := s.rareLocked()
	if nc == nil { // the connection is broken: the next read fails
		s.moving, s.securing = false, false
		s.conn.Resume()
		s.mu.Unlock()
		return
	}
	x.transit = nc
	ctx, cancel := s.handshakeContext(nc)
	defer cancel()
	x.cancel = cancel
	destroyed, client, config := s.destroyed, s.client, x.config
	s.mu.Unlock()
	if destroyed {
		nc.Close()
		s.closed(nil)
		return
	}
	if d, ok := nc.(interface{ OnEnd(f func()) }); ok {
		d.OnEnd(cancel)
	}
	tc, err := shake(ctx, nc, client, config)
	switch {
	case errors.Is(err, net.ErrClosed), errors.Is(err, context.Canceled): // the loop was closed
		s.closed(handlers.ErrShutdown)
		return
	case err != nil:
		s.closed(fmt.Errorf("TLS handshake: %w", err))
		linger.End(nc, alertTime, alertBytes)
		nc.Close()
		return
	}
	s.resume(nc, tc)
}

// handshakeContext returns a context that ends at the deadline of the handshake. The caller cancels
// it when the stream or its loop ends.
func (s *Stream) handshakeContext(nc net.Conn) (context.Context, context.CancelFunc) {
	if t := cmp.Or(s.HandshakeTimeout, defaultHandshakeTimeout); t > 0 {
		return grace.Context(context.Background(), nc, t)
	}
	return context.WithCancel(context.Background())
}

func shake(ctx context.Context, nc net.Conn, client bool, config *tls.Config) (*tls.Conn, error) {
	sw := handlers.NewSwitch(nc) // lets the loop read and write below tc later
	tc := tls.Server(sw, config)
	if client {
		tc = tls.Client(sw, config)
	}
	var err error
	if p := handlers.Guard(func() { err = tc.HandshakeContext(ctx) }); p != nil {
		return nil, p
	}
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return tc, err
}

// resume gives the stream back to the loop.
func (s *Stream) resume(nc net.Conn, tc *tls.Conn) {
	s.mu.Lock()
	if s.destroyed {
		s.mu.Unlock()
		nc.Close()
		s.closed(nil)
		return
	}
	s.rare.secure, s.rare.transit = tc, nil
	s.securing, s.moving = false, false
	run := s.startLocked(&secured{handlers.Wrap(nil, tc, &unknown), nc}, s.loop)
	s.mu.Unlock()
	if run != nil {
		go run() // ends with its first turn; its loop waits for the connection
	}
}

// secured is the [handlers.Conn] of a connection after the handshake.
type secured struct {
	handlers.Detacher // of the *tls.Conn
	below             net.Conn
}

// Close implements [handlers.Conn.Close].
func (c *secured) Close() error { return c.below.Close() }

// Detach implements [handlers.Detacher.Detach] by that of the connection below TLS.
func (c *secured) Detach() (io.Closer, error) {
	if d, ok := c.below.(interface{ Detach() (io.Closer, error) }); ok {
		return d.Detach()
	}
	return c.Detacher.Detach()
}

// secureLocked reports whether the stream is TLS.
func (s *Stream) secureLocked() bool {
	return s.rare != nil && (s.rare.secure != nil || s.rare.outside != nil)
}

// tlsState returns the state of TLS, and the config and role of a handshake of the stream itself.
func (s *Stream) tlsState() (state tls.ConnectionState, config *tls.Config, client bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.secureLocked():
		return state, nil, false, ErrNotSecure
	case s.rare.secure == nil:
		return *s.rare.outside, nil, false, nil
	}
	return s.rare.secure.ConnectionState(), s.rare.config, s.client, nil
}

// VerifyPeer verifies the peer's certificate, and returns nil if it can be trusted: it is valid now
// and signed by an authority of the config of SetSecure (ClientCAs on a server; on a client
// RootCAs, or the system's if that is nil). On a client whose config has a ServerName it must be
// for that name.
func (s *Stream) VerifyPeer() error {
	state, config, client, err := s.tlsState()
	switch {
	case err != nil:
		return err
	case len(state.PeerCertificates) == 0:
		return ErrNoCertificate
	case len(state.VerifiedChains) > 0:
		return nil
	case config == nil || !client && config.ClientCAs == nil:
		return ErrNoCAs
	}
	o := x509.VerifyOptions{Roots: config.ClientCAs, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if client {
		o = x509.VerifyOptions{Roots: config.RootCAs, DNSName: config.ServerName}
	}
	if config.Time != nil {
		o.CurrentTime = config.Time()
	}
	o.Intermediates = x509.NewCertPool()
	for _, cert := range state.PeerCertificates[1:] {
		o.Intermediates.AddCert(cert)
	}
	_, err = state.PeerCertificates[0].Verify(o)
	return err
}

// PeerCertificate describes the peer's certificate. It returns the zero value if the peer has sent
// none, and [ErrNotSecure] if the stream is not TLS.
func (s *Stream) PeerCertificate() (Certificate, error) {
	state, _, _, err := s.tlsState()
	if err != nil || len(state.PeerCertificates) == 0 {
		return Certificate{}, err
	}
	return describe(state.PeerCertificates[0]), nil
}
