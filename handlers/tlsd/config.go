package tlsd

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/portluck/portluck/handlers"
)

// Errors for a refused ClientHello, besides those of crypto/tls.
var (
	// ErrALPN means that no protocol that the client offers is served: alert
	// no_application_protocol.
	ErrALPN = fmt.Errorf("no handler for the protocols that the client offers: %w", handlers.ErrPolicy)
	// ErrName means that the client asks for a name that no certificate has: alert
	// unrecognized_name.
	ErrName = fmt.Errorf("no certificate for the name that the client asks for: %w", handlers.ErrPolicy)
)

// verdict passes the decision of choose on a ClientHello to the goroutine of the handshake.
type verdict struct{ refused error }

type verdictKey struct{}

func (h *Handler) init() {
	if h.Config == nil {
		return
	}
	h.base = h.adapt(h.Config)
	h.base.GetConfigForClient = h.choose
}

// adapt returns a copy of c that agrees only to protocols that have a handler.
func (h *Handler) adapt(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	c.NextProtos = h.protocols(c.NextProtos)
	if c.KeyLogWriter != nil {
		c.KeyLogWriter = keyLog{c.KeyLogWriter}
	}
	return c
}

// keyLog turns a panic of w into an error. crypto/tls writes under a lock that a panic would leave
// held, which would block every later handshake that logs its keys.
type keyLog struct{ w io.Writer }

// Write is io.Writer's.
func (l keyLog) Write(b []byte) (n int, err error) {
	if p := handlers.Guard(func() { n, err = l.w.Write(b) }); p != nil {
		return 0, p
	}
	return n, err
}

// protocols returns the ALPN ids that have a handler, in the order of preference.
func (h *Handler) protocols(first []string) []string {
	var ids, web []string
	for _, id := range first {
		if h.ALPN[id] != nil && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(h.ALPN)) {
		switch {
		case h.ALPN[id] == nil, slices.Contains(ids, id):
		case id == handlers.ProtocolHTTP1:
			web = append(web, id)
		case id == handlers.ProtocolHTTP2:
			web = slices.Insert(web, 0, id)
		default:
			ids = append(ids, id)
		}
	}
	return append(ids, web...)
}

// choose is the GetConfigForClient of every handshake.
func (h *Handler) choose(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	c := h.base
	if f := h.Config.GetConfigForClient; f != nil {
		own, err := f(hello)
		if err != nil {
			return nil, err
		}
		if own != nil {
			c = h.adapt(own)
		}
	}
	v := hello.Context().Value(verdictKey{}).(*verdict)
	switch {
	case len(hello.SupportedProtos) > 0 && !overlap(c.NextProtos, hello.SupportedProtos):
		v.refused = ErrALPN
		return refusingALPN(c), nil
	case h.StrictSNI && hello.ServerName != "" && !knows(c, hello):
		v.refused = ErrName
		return refusingName(c), nil
	case c == h.base:
		return nil, nil
	}
	return c, nil
}

// unofferable is longer than any protocol id may be, so no client can offer it (RFC 7301, section
// 3.1).
var unofferable = strings.Repeat("x", 256)

// refusingALPN returns a config with which crypto/tls sends no_application_protocol. By itself
// crypto/tls does not if the server has no protocol at all, or if a client offers http/1.1 to a
// server of h2. It then goes on as if nothing had been offered.
func refusingALPN(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.NextProtos = []string{unofferable}
	return c
}

// refusingName returns a config without certificates, with which crypto/tls sends
// unrecognized_name.
func refusingName(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.Certificates, c.GetCertificate = nil, nil
	c.SessionTicketsDisabled = true // a resumed session needs no certificate
	return c
}

func overlap(ours, theirs []string) bool {
	return slices.ContainsFunc(theirs, func(id string) bool { return slices.Contains(ours, id) })
}

// knows reports whether c has a certificate for the name that the client asks for.
func knows(c *tls.Config, hello *tls.ClientHelloInfo) bool {
	if c.GetCertificate != nil {
		if cert, err := c.GetCertificate(hello); cert != nil || err != nil {
			return err == nil && covers(cert, hello.ServerName)
		}
	}
	return slices.ContainsFunc(c.Certificates, func(cert tls.Certificate) bool {
		return covers(&cert, hello.ServerName)
	})
}

// covers reports whether cert is valid for name.
func covers(cert *tls.Certificate, name string) bool {
	leaf := cert.Leaf
	if leaf == nil && len(cert.Certificate) > 0 {
		leaf, _ = x509.ParseCertificate(cert.Certificate[0])
	}
	return leaf != nil && leaf.VerifyHostname(name) == nil
}
