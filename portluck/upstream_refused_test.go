package portluck

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// Ours differs: upstream closes what looks like SSLv2. Here it is a raw client, because UTF-8 text
// can look like that. It is closed, without an OnConnect, only if raw clients are refused.
func TestUpstreamP19SSLv2(t *testing.T) {
	hello := "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80\x02\x00\x80"
	hub, e := record(nil)
	addr := serve(t, &Server{Hub: hub, OnUnmatched: handlers.Refuse})
	talk(t, addr, hello)
	e.wantError(t, "unknown protocol")
}

func TestUpstreamP20CorruptClientHello(t *testing.T) {
	hub, e := record(nil)
	addr := serve(t, &Server{Hub: hub, TLSConfig: withTLS(), OnUnmatched: handlers.Refuse})
	talk(t, addr, "\x16\x03\x00\x00\x85\xff\x00\x00")
	e.wantError(t, "")
}

func TestUpstreamP21P22MessageLimit(t *testing.T) {
	t.Parallel()
	for name, pieces := range map[string][]string{"P21": {"0123456789abc\n"}, "P22": {"0123456", "789abc\n"}} {
		t.Run(name, func(t *testing.T) {
			hub, e := record(nil)
			addr := serve(t, &Server{Hub: hub, MessageLimit: 5, MessageTail: true})
			c := dial(t, addr)
			for _, p := range pieces {
				send(t, c, p)
				pauseFor(50 * time.Millisecond)
			}
			c.CloseWrite()
			expectEnd(t, c)
			e.want(t, "connect tcp", "message 89abc", "disconnect tcp")
		})
	}
}

// Ours differs: TLS 1.0 and 1.1 are refused (RFC 8996); 1.2 and 1.3 are served.
func TestUpstreamP23toP25HTTPS(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			hub, e := record(nil)
			addr := serve(t, &Server{Hub: hub, TLSConfig: withTLS()})
			transport := &http.Transport{TLSClientConfig: &tls.Config{
				InsecureSkipVerify: true, MinVersion: version, MaxVersion: version,
			}}
			defer transport.CloseIdleConnections()
			if version < tls.VersionTLS12 {
				if _, err := (&http.Client{Transport: transport}).Post("https://"+addr, "", nil); err == nil {
					t.Error("an outdated version is served")
				}
				e.wantError(t, "")
				return
			}
			if status, _ := post(t, transport, "https://"+addr, strings.NewReader(upstreamLine)); status != 200 {
				t.Errorf("answer %d", status)
			}
			e.want(t, "connect https", "message "+upstreamLine, "disconnect https")
		})
	}
}

func TestUpstreamP26SSLv3(t *testing.T) {
	hub, e := record(nil)
	addr := serve(t, &Server{Hub: hub, TLSConfig: withTLS()})
	hello := "\x16\x03\x00\x00\x2d\x01\x00\x00\x29\x03\x00" + strings.Repeat("r", 32) + "\x00\x00\x02\x00\x2f\x01\x00"
	got := talk(t, addr, hello)
	if !strings.HasPrefix(got, "\x15\x03") {
		t.Errorf("read %q, want an alert", got)
	}
	e.wantError(t, "")
}

func TestUpstreamP27SilentClientTimesOut(t *testing.T) {
	t.Parallel()
	hub, e := record(nil)
	addr := serve(t, &Server{Hub: hub, SniffTimeout: sniffSoon, Timeout: sniffSoon})
	expectEnd(t, dial(t, addr))
	e.want(t, "connect tcp", "disconnect tcp: "+handlers.ErrTimeout.Error())
	if n := hub.Len(); n != 0 {
		t.Errorf("%d clients are left", n)
	}
}

// Ours answers 408 where upstream just closes.
func TestUpstreamP28HalfARequest(t *testing.T) {
	t.Parallel()
	hub, e := record(nil)
	addr := serve(t, &Server{Hub: hub, SniffTimeout: sniffSoon, HeaderTimeout: sniffSoon, Timeout: sniffSoon})
	c := dial(t, addr)
	send(t, c, "GET / HTTP/1.1\r\n")
	if got := expectEnd(t, c); !strings.HasPrefix(got, "HTTP/1.1 408 ") {
		t.Errorf("read %q", got)
	}
	e.wantError(t, ErrStalled.Error())
}

func TestUpstreamP29NoRawFallback(t *testing.T) {
	t.Parallel()
	hub, e := record(nil)
	addr := serve(t, &Server{Hub: hub, OnUnmatched: handlers.Refuse, SniffTimeout: sniffSoon})
	c := dial(t, addr)
	send(t, c, "G")
	expectEnd(t, c)
	e.wantError(t, ErrStalled.Error())
}
