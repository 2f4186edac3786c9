package tlsd

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"

	"github.com/portluck/portluck/handlers"
)

// Refusals of a ClientHello, beside those that crypto/tls has.
var (
	// ErrALPN means that the client offers protocols of which none is served: alert no_application_protocol.
	ErrALPN = fmt.Errorf("no protocol of those that the client offers: %w", handlers.ErrPolicy)
	// ErrName means that the client asks for a name that no certificate has: alert unrecognized_name.
	ErrName = fmt.Errorf("no certificate for the name that the client asks for: %w", handlers.ErrPolicy)
)

// config is a tls.Config and those that make crypto/tls send the alert of a refusal.
type config struct {
	tls    *tls.Config
	noALPN *tls.Config
	noName *tls.Config
}

// verdict is what choose says of a ClientHello, for the goroutine that makes the handshake.
type verdict struct{ refused error }

type verdictKey struct{}

func (h *Handler) init() {
	if h.Config == nil {
		return
	}
	h.base = h.adapt(h.Config)
	h.base.tls.GetConfigForClient = h.choose
}

// adapt makes a config that agrees to what there is a handler for.
func (h *Handler) adapt(c *tls.Config) *config {
	served := c.Clone()
	served.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	served.NextProtos = h.protocols(c.NextProtos)

	// crypto/tls lets a client of http/1.1 pass that meets a server of h2, as if it had offered nothing. It does not if
	// h2 is not there.
	noALPN := served.Clone()
	noALPN.NextProtos = []string{"\x00refused"}

	// crypto/tls says unrecognized_name when it has no certificate at all.
	noName := served.Clone()
	noName.Certificates, noName.GetCertificate = nil, nil
	noName.SessionTicketsDisabled = true // a resumed session needs no certificate
	return &config{tls: served, noALPN: noALPN, noName: noName}
}

// protocols is the ids of ALPN in the order of preference.
func (h *Handler) protocols(first []string) []string {
	var ids []string
	for _, id := range first {
		if h.ALPN[id] != nil && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	var web []string
	for _, id := range slices.Sorted(maps.Keys(h.ALPN)) {
		switch {
		case h.ALPN[id] == nil, slices.Contains(ids, id):
		case id == "h2", id == "http/1.1": // sorted the right way
			web = append(web, id)
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
	v, _ := hello.Context().Value(verdictKey{}).(*verdict)
	switch {
	case len(hello.SupportedProtos) > 0 && !overlap(c.tls.NextProtos, hello.SupportedProtos):
		v.refused = ErrALPN
		return c.noALPN, nil
	case h.StrictSNI && hello.ServerName != "" && !knows(c.tls, hello):
		v.refused = ErrName
		return c.noName, nil
	case c == h.base:
		return nil, nil
	}
	return c.tls, nil
}

func overlap(ours, theirs []string) bool {
	return slices.ContainsFunc(theirs, func(id string) bool { return slices.Contains(ours, id) })
}

// knows says whether c has a certificate for the name that the client asks for.
func knows(c *tls.Config, hello *tls.ClientHelloInfo) bool {
	if c.GetCertificate != nil {
		cert, err := c.GetCertificate(hello)
		if err != nil {
			return false
		}
		if cert != nil {
			return covers(cert, hello.ServerName)
		}
	}
	return slices.ContainsFunc(c.Certificates, func(cert tls.Certificate) bool {
		return covers(&cert, hello.ServerName)
	})
}

// covers says whether the certificate is for name.
func covers(cert *tls.Certificate, name string) bool {
	leaf := cert.Leaf
	if leaf == nil && len(cert.Certificate) > 0 {
		leaf, _ = x509.ParseCertificate(cert.Certificate[0])
	}
	return leaf != nil && leaf.VerifyHostname(name) == nil
}
