package tlsd

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/portluck/portluck/handlers"
)

// Alerts (RFC 8446, section 6).
const (
	alertUnexpectedMessage     = 10
	alertDecodeError           = 50
	alertProtocolVersion       = 70
	alertInternalError         = 80
	alertUnrecognizedName      = 112
	alertNoApplicationProtocol = 120
)

// tap records what is read.
type tap struct {
	net.Conn
	in bytes.Buffer
}

func (t *tap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.in.Write(p[:n])
	return n, err
}

// checkAlert fails unless the last record is a fatal alert in the clear.
func checkAlert(tb testing.TB, in []byte, want byte) {
	tb.Helper()
	last := in[max(0, len(in)-7):]
	if len(last) != 7 || last[0] != 21 || last[1] != 3 || !bytes.Equal(last[3:], []byte{0, 2, 2, want}) {
		tb.Errorf("the last record is %x, want the fatal alert %d", last, want)
	}
}

const routed = "routed"

type alpnTest struct {
	name   string
	served []string // protocols that have a handler
	first  []string // Config.NextProtos
	offer  []string
	want   string // the protocol that is agreed and routed; empty for no_application_protocol
}

var alpnTests = []alpnTest{
	{name: "h2", served: []string{"h2", "http/1.1"}, offer: []string{"h2"}, want: "h2"},
	{name: "http/1.1", served: []string{"h2", "http/1.1"}, offer: []string{"http/1.1"}, want: "http/1.1"},
	{name: "a browser", served: []string{"h2", "http/1.1"}, offer: []string{"http/1.1", "h2"}, want: "h2"},
	{name: "none offered", served: []string{"h2", "http/1.1"}, want: routed},
	{name: "none offered, none served", want: routed},
	{name: "no overlap", served: []string{"h2", "http/1.1"}, offer: []string{"ftp"}},
	{name: "some overlap", served: []string{"h2", "http/1.1"}, offer: []string{"ftp", "http/1.1"}, want: "http/1.1"},
	{name: "http/1.1 meets h2 only", served: []string{"h2"}, offer: []string{"http/1.1"}},
	{name: "a browser meets none", offer: []string{"h2", "http/1.1"}},
	{name: "own id", served: []string{"h2", "ssh"}, offer: []string{"ssh"}, want: "ssh"},
	{name: "own id before h2", served: []string{"h2", "grpc-exp"}, offer: []string{"h2", "grpc-exp"}, want: "grpc-exp"},
	{name: "the config's order", served: []string{"h2", "http/1.1"}, first: []string{"http/1.1"}, offer: []string{"h2", "http/1.1"}, want: "http/1.1"},
	{name: "the config's without a handler", served: []string{"h2"}, first: []string{"spdy/3"}, offer: []string{"spdy/3"}},
}

func TestTraps2Row3StrictALPN(t *testing.T) {
	for _, test := range alpnTests {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(test.name+" "+tls.VersionName(version), func(t *testing.T) { test.run(t, version) })
		}
	}
}

func (test *alpnTest) run(t *testing.T, version uint16) {
	config := newConfig(t)
	config.NextProtos = test.first
	inner := newEcho()
	h := &Handler{Config: config, ALPN: map[string]handlers.Handler{"nil": nil}}
	for _, id := range test.served {
		h.ALPN[id] = inner
	}
	client, c, p := serve(t, h)
	tapped := &tap{Conn: client}
	tc := tls.Client(tapped, &tls.Config{InsecureSkipVerify: true, NextProtos: test.offer, MaxVersion: version})
	if err := tc.Handshake(); (err == nil) != (test.want != "") {
		t.Errorf("Handshake() = %v, want an error %t", err, test.want == "")
	}
	switch test.want {
	case "":
		checkAlert(t, tapped.in.Bytes(), alertNoApplicationProtocol)
		client.Close()
		if err := p.err(t); !errors.Is(err, ErrALPN) || !errors.Is(err, handlers.ErrPolicy) || c.open() {
			t.Errorf("Fail(%v), open %t, want %v, false", err, c.open(), ErrALPN)
		}
	case routed:
		checkInner(t, <-p.routed, c, handlers.ProtocolTLS)
	default:
		checkInner(t, <-inner.served, c, test.want)
		checkEcho(t, tc)
	}
	if len(p.routed)+len(inner.served) > 0 {
		t.Error("the connection was served twice, or in spite of a refusal")
	}
}

// checkInner fails unless c is the connection inside outer, for protocol.
func checkInner(tb testing.TB, c handlers.Conn, outer *conn, protocol string) {
	tb.Helper()
	info := c.Info()
	if info.Protocol != protocol || info.TLS == nil || !info.TLS.HandshakeComplete {
		tb.Errorf("Info() = %q, TLS %v, want %q and a complete handshake", info.Protocol, info.TLS, protocol)
	}
	if outer.info.TLS != nil || outer.info.Protocol != "" {
		tb.Errorf("the outer connection's info was changed: %+v", outer.info)
	}
	nc, err := c.NetConn()
	tc, ok := nc.(*tls.Conn)
	if err != nil || !ok {
		tb.Fatalf("NetConn() = %T, %v, want a *tls.Conn", nc, err)
	}
	if below, ok := tc.NetConn().(*handlers.Switch); !ok || below.Current() != outer.nc {
		tb.Errorf("the *tls.Conn is around %T, want a Switch around the connection itself", tc.NetConn())
	}
}

func checkEcho(tb testing.TB, nc net.Conn) {
	tb.Helper()
	want := "hello"
	got := make([]byte, len(want))
	if _, err := io.WriteString(nc, want); err != nil {
		tb.Fatal(err)
	}
	if _, err := io.ReadFull(nc, got); err != nil || string(got) != want {
		tb.Errorf("echo = %q, %v, want %q, nil", got, err, want)
	}
}

func TestProtocols(t *testing.T) {
	h := &Handler{ALPN: map[string]handlers.Handler{
		"http/1.1": handlers.Refuse, "h2": handlers.Refuse, "ssh": handlers.Refuse, "acme-tls/1": handlers.Refuse, "x": nil,
	}}
	got := h.protocols([]string{"ssh", "ftp", "ssh"})
	if want := []string{"ssh", "acme-tls/1", "h2", "http/1.1"}; !slices.Equal(got, want) {
		t.Errorf("protocols() = %q, want %q", got, want)
	}
}

// The program's own GetConfigForClient is called, and its result must follow the same rules.
func TestOwnConfigForClient(t *testing.T) {
	broken := errors.New("broken")
	for _, test := range []struct {
		name, server string
		offer        []string
		want         error
	}{
		{name: "none", server: "none.test"},
		{name: "own", server: "own.test", offer: []string{"ssh"}},
		{name: "own without overlap", server: "own.test", offer: []string{"ftp"}, want: ErrALPN},
		{name: "error", server: "broken.test", want: broken},
	} {
		t.Run(test.name, func(t *testing.T) {
			config, own := newConfig(t), newConfig(t)
			config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				switch hello.ServerName {
				case "own.test":
					return own, nil
				case "broken.test":
					return nil, broken
				}
				return nil, nil
			}
			inner := newEcho()
			client, _, p := serve(t, &Handler{Config: config, ALPN: map[string]handlers.Handler{"ssh": inner}})
			tc := tls.Client(client, &tls.Config{InsecureSkipVerify: true, ServerName: test.server, NextProtos: test.offer})
			err := tc.Handshake()
			if (err != nil) != (test.want != nil) {
				t.Errorf("Handshake() = %v, want an error %t", err, test.want != nil)
			}
			if test.want == nil {
				served := inner.served
				if test.offer == nil {
					served = p.routed
				}
				if certs := tc.ConnectionState().PeerCertificates; test.name == "own" && !bytes.Equal(certs[0].Raw, own.Certificates[0].Certificate[0]) {
					t.Error("got the certificate of the other config")
				}
				<-served
			}
			client.Close()
			if err := p.err(t); !errors.Is(err, test.want) {
				t.Errorf("Fail(%v), want %v", err, test.want)
			}
			if own.NextProtos != nil || config.NextProtos != nil || own.MinVersion != 0 {
				t.Error("the program's config was changed")
			}
		})
	}
}
