package portluck

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/matchers"
)

// check returns an error that says which field is wrong: one with which the server could serve
// nobody, or clients other than those that the program means.
func (s *Server) check() error {
	if err := handlers.Hosts(s.Hosts).Check(); err != nil {
		return fmt.Errorf("portluck: Hosts: %w", err)
	}
	for _, pattern := range s.AllowOrigin {
		if err := handlers.CheckOriginPattern(pattern); err != nil {
			return fmt.Errorf("portluck: AllowOrigin: %q: %w", pattern, err)
		}
	}
	for name, list := range map[string][]netip.Prefix{"ProxyFrom": s.ProxyFrom, "SpeakFirst": s.SpeakFirst} {
		for _, p := range list {
			if !p.IsValid() && p != ProxyUnix {
				return fmt.Errorf("portluck: %s: a prefix that is not valid contains no address", name)
			}
		}
	}
	for name, v := range map[string]any{
		"OnSilence": s.OnSilence, "OnStall": s.OnStall, "OnUnmatched": s.OnUnmatched, "Pages": s.Pages, "Packets": s.Packets,
	} {
		if v != nil && handlers.IsNil(v) {
			return fmt.Errorf("portluck: %s is a nil %T", name, v)
		}
	}
	for i, protocol := range s.Protocols {
		if !isToken(protocol) || slices.Contains(s.Protocols[:i], protocol) {
			return fmt.Errorf("portluck: Protocols: %q: each is a name such as chat.v1, once (RFC 6455, section 4.1)", protocol)
		}
	}
	if s.AllowOriginRegexp != nil {
		if _, err := wholeRegexp(s.AllowOriginRegexp); err != nil {
			return fmt.Errorf("portluck: AllowOriginRegexp: %w", err)
		}
	}
	if s.TLSConfig == nil {
		if len(s.alpn) > 0 {
			return errors.New("portluck: HandleALPN needs a TLSConfig: only clients of TLS choose a protocol")
		}
		return nil
	}
	if err := checkTLS(s.TLSConfig); err != nil {
		return fmt.Errorf("portluck: TLSConfig: %w", err)
	}
	return nil
}

// checkTLS returns an error if no handshake can succeed with c.
func checkTLS(c *tls.Config) error {
	if c.MinVersion > tls.VersionTLS13 {
		return errors.New("MinVersion leaves no version: TLS 1.3 is the last")
	}
	if c.MaxVersion != 0 && c.MaxVersion < max(c.MinVersion, tls.VersionTLS12) {
		return errors.New("MaxVersion leaves no version: TLS 1.2 is the least")
	}
	for i, cert := range c.Certificates {
		if err := checkPair(cert); err != nil {
			return fmt.Errorf("certificate %d of Certificates: %w; use tls.LoadX509KeyPair", i, err)
		}
	}
	if len(c.Certificates) == 0 && c.GetCertificate == nil && c.GetConfigForClient == nil {
		return errors.New("there is no certificate: set Certificates, GetCertificate or GetConfigForClient")
	}
	if c.GetConfigForClient != nil { // it supplies the rest
		return nil
	}
	if c.MaxVersion == tls.VersionTLS12 && c.CipherSuites != nil && !hasKnownSuite(c.CipherSuites) {
		return errors.New("CipherSuites leaves no cipher suite of TLS 1.2: nil is Go's choice")
	}
	return nil
}

// checkPair returns an error if cert cannot be used to serve, by the checks of [tls.X509KeyPair].
func checkPair(cert tls.Certificate) error {
	if len(cert.Certificate) == 0 || handlers.IsNil(cert.PrivateKey) {
		return errors.New("it has no certificate or no key")
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return err
	}
	signer, ok := cert.PrivateKey.(crypto.Signer)
	if !ok {
		return fmt.Errorf("a %T cannot sign", cert.PrivateKey)
	}
	public, ok := leaf.PublicKey.(interface {
		Equal(key crypto.PublicKey) bool
	})
	if !ok {
		return fmt.Errorf("a %T is no key for TLS", leaf.PublicKey)
	}
	var equal bool
	if err := handlers.Guard(func() { equal = public.Equal(signer.Public()) }); err != nil {
		return fmt.Errorf("the public key of a %T: %w", cert.PrivateKey, err)
	}
	if !equal {
		return errors.New("the key is another certificate's")
	}
	return nil
}

// hasKnownSuite reports whether crypto/tls implements one of ids for TLS 1.2.
func hasKnownSuite(ids []uint16) bool {
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		if slices.Contains(ids, s.ID) && slices.Contains(s.SupportedVersions, tls.VersionTLS12) {
			return true
		}
	}
	return false
}

// checkRoute panics if a route cannot be added with this name, matcher and handler. call names the
// method for the message.
func (s *Server) checkRoute(call, name string, m matchers.Matcher, nilHandler bool) {
	fail := func(why string) { panic(fmt.Sprintf("portluck: %s(%q): %s", call, name, why)) }
	if s.serving.Load() {
		panic("portluck: " + call + " after Serve: the routes are frozen; make them first")
	}
	if name == "" {
		fail("the name is empty")
	}
	if handlers.IsNil(m) {
		fail("the matcher is nil")
	}
	if nilHandler {
		fail("the handler is nil")
	}
	switch name {
	case RouteProxy, RouteTLS, RouteH2C, RouteWebSocket, RouteHTTP, RouteRaw, RouteSilent, RouteStalled:
		fail("the name is that of a built-in route")
	}
	for _, r := range s.routes {
		if r.name == name {
			fail("there is a route of this name")
		}
	}
}

// isToken reports whether s is a token of HTTP (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune("()<>@,;:\\\"/[]?={}", r)
	})
}
