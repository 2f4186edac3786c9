package tlsd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/testdata/funcs"
)

func boom() { panic("of the program") }

// panicking is a Rand or a KeyLogWriter that panics.
type panicking struct{}

func (panicking) Read([]byte) (int, error)  { panic("of the program") }
func (panicking) Write([]byte) (int, error) { panic("of the program") }

// A panic in a callback of the TLS configuration costs only its connection: the handler serves the
// next.
func TestConfigPanics(t *testing.T) {
	tests := map[string]func(c *tls.Config){
		"GetConfigForClient": func(c *tls.Config) {
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { boom(); return nil, nil }
		},
		"GetCertificate": func(c *tls.Config) {
			c.Certificates = nil
			c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { boom(); return nil, nil }
		},
		"VerifyConnection": func(c *tls.Config) {
			c.VerifyConnection = func(tls.ConnectionState) error { boom(); return nil }
		},
		"VerifyPeerCertificate": func(c *tls.Config) {
			c.ClientAuth = tls.RequireAnyClientCert
			c.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { boom(); return nil }
		},
		"WrapSession": func(c *tls.Config) {
			c.WrapSession = func(tls.ConnectionState, *tls.SessionState) ([]byte, error) { boom(); return nil, nil }
		},
		"Time":         func(c *tls.Config) { c.Time = func() time.Time { boom(); return time.Time{} } },
		"Rand":         func(c *tls.Config) { c.Rand = panicking{} },
		"KeyLogWriter": func(c *tls.Config) { c.KeyLogWriter = panicking{} },
	}
	for name, set := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := newConfig(t)
			set(cfg)
			bad := true
			h := &Handler{Config: &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
				if bad {
					return cfg, nil
				}
				return newConfig(t), nil
			}}, ALPN: map[string]handlers.Handler{"x": handlers.Refuse}}
			if name == "GetConfigForClient" {
				own := cfg.GetConfigForClient
				h.Config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
					if bad {
						return own(hello)
					}
					return newConfig(t), nil
				}
			}
			client, c, p := serveTCP(t, h) // both sides may write at once over TCP
			theirs := clientConfig()
			theirs.Certificates = newConfig(t).Certificates
			theirs.ClientSessionCache, theirs.ServerName = tls.NewLRUClientSessionCache(1), "x"
			tc := tls.Client(client, theirs)
			go func() { _, _ = io.Copy(io.Discard, tc) }() // ends with the connection
			<-c.closed
			if err := p.err(t); !errors.Is(err, handlers.ErrPanic) {
				t.Errorf("Fail(%v), want %v", err, handlers.ErrPanic)
			}
			bad = false
			client, c, p = serveTCP(t, h)
			if _, err := io.ReadAll(tls.Client(client, clientConfig())); err != nil {
				t.Errorf("the next client: %v", err)
			}
			<-c.closed
			if err := p.err(t); errors.Is(err, handlers.ErrPanic) {
				t.Errorf("the next client: Fail(%v)", err)
			}
		})
	}
}

// A panic of OnError has no other effect: the previous pair stays in use.
func TestOnErrorPanics(t *testing.T) {
	funcs.Covered(t, "Certificates.OnError")
	called := false
	files := newPair(t)
	c, _ := load(t, files)
	c.OnError = func(error) { called = true; boom() }
	files.write([]byte("broken"), nil)
	c.refresh()
	if !called {
		t.Error("OnError was not called")
	}
	check(t, c, "first.test")
	if err := c.Reload(); err == nil { // no lock is held
		t.Error("Reload() = nil")
	}
}
