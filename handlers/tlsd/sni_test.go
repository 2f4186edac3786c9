package tlsd

import (
	"crypto/tls"
	"errors"
	"testing"

	"github.com/portluck/portluck/handlers"
)

func TestTraps2Row3StrictSNI(t *testing.T) {
	one, wild := newCert(t, "one.test", "two.test"), newCert(t, "*.wild.test")
	unparsed := wild
	unparsed.Leaf = nil
	static := &tls.Config{Certificates: []tls.Certificate{one, unparsed}}
	refused := errors.New("host not configured")
	dynamic := &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if hello.ServerName == "bad.test" {
			return nil, refused
		}
		return &one, nil
	}}
	for _, test := range []struct {
		name   string
		config *tls.Config
		loose  bool
		server string
		ok     bool
	}{
		{name: "a name", config: static, server: "one.test", ok: true},
		{name: "another name", config: static, server: "two.test", ok: true},
		{name: "wildcard", config: static, server: "a.wild.test", ok: true},
		{name: "beyond the wildcard", config: static, server: "a.b.wild.test"},
		{name: "unknown", config: static, server: "evil.test"},
		{name: "suffix", config: static, server: "evilone.test"},
		{name: "no name", config: static, ok: true},
		{name: "unknown, not strict", config: static, loose: true, server: "evil.test", ok: true},
		{name: "dynamic", config: dynamic, server: "one.test", ok: true},
		{name: "dynamic, unknown", config: dynamic, server: "evil.test"},
		{name: "dynamic, error", config: dynamic, server: "bad.test"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inner := newEcho()
			client, _, p := serve(t, &Handler{Config: test.config, ALPN: map[string]handlers.Handler{"x": inner}, StrictSNI: !test.loose})
			tapped := &tap{Conn: client}
			config := clientConfig()
			config.ServerName = test.server
			tc := tls.Client(tapped, config)
			err := tc.Handshake()
			if test.ok {
				if err != nil {
					t.Fatal(err)
				}
				checkEcho(t, tc)
				return
			}
			if err == nil {
				t.Error("the handshake is complete, want an alert")
			}
			checkAlert(t, tapped.in.Bytes(), alertUnrecognizedName)
			client.Close()
			if err := p.err(t); !errors.Is(err, ErrName) || len(inner.served) > 0 {
				t.Errorf("Fail(%v), served %d, want %v, 0", err, len(inner.served), ErrName)
			}
		})
	}
}

// A session of one name cannot be resumed for another.
func TestStrictSNIHoldsForResumption(t *testing.T) {
	h := &Handler{
		Config: &tls.Config{Certificates: []tls.Certificate{newCert(t, "one.test")}},
		ALPN:   map[string]handlers.Handler{"x": newEcho()}, StrictSNI: true,
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			config := clientConfig()
			config.MaxVersion = version
			config.ClientSessionCache = anyName{tls.NewLRUClientSessionCache(1)}
			connect := func(name string) (resumed bool, err error) {
				client, _, _ := serveTCP(t, h)
				config := config.Clone()
				config.ServerName = name
				tc := tls.Client(client, config)
				if err := tc.Handshake(); err != nil {
					return false, err
				}
				checkEcho(t, tc) // also receives the ticket
				<-h.ALPN["x"].(*echo).served
				return tc.ConnectionState().DidResume, nil
			}
			for _, want := range []bool{false, true} {
				if resumed, err := connect("one.test"); err != nil || resumed != want {
					t.Fatalf("resumed = %t, %v, want %t, nil", resumed, err, want)
				}
			}
			if resumed, err := connect("evil.test"); err == nil {
				t.Errorf("the handshake for another name is complete, resumed %t", resumed)
			}
		})
	}
}

// anyName is a cache that returns a session for any name.
type anyName struct{ tls.ClientSessionCache }

func (a anyName) Get(string) (*tls.ClientSessionState, bool) { return a.ClientSessionCache.Get("") }
func (a anyName) Put(_ string, s *tls.ClientSessionState)    { a.ClientSessionCache.Put("", s) }
