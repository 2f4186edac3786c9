package matchers_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/portluck/portluck/matchers"
	"github.com/portluck/portluck/matchers/matchertest"
	"github.com/portluck/portluck/testdata"
	"github.com/soheilhy/cmux"
)

func seed(f *testing.F) {
	for _, tr := range testdata.All() {
		f.Add(tr.Bytes)
	}
}

func verify(t *testing.T, m matchers.Matcher, b []byte) {
	t.Helper()
	if err := matchertest.Verify(m, b); err != nil {
		t.Errorf("%q: %v", b, err)
	}
}

// Whatever net/http accepts as a request is HTTP: TRAPS part 2, row 16.
func FuzzHTTP1(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		verify(t, matchers.HTTP1(), b)
		line, _, _ := bytes.Cut(b, []byte("\n"))
		if _, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b))); err != nil || len(line) >= matchers.TextWindow {
			return
		}
		if v := matchers.AnyOf(matchers.HTTP1(), matchers.HTTP2()).Match(matchers.Hello{Bytes: b}); v != matchers.Yes {
			t.Errorf("net/http reads %q, HTTP1 says %d", b, v)
		}
	})
}

func FuzzWebSocket(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		verify(t, matchers.WebSocket(), b)
		if matchers.WebSocket().Match(matchers.Hello{Bytes: b}) == matchers.Yes &&
			matchers.HTTP1().Match(matchers.Hello{Bytes: b}) == matchers.No {
			t.Errorf("%q is WebSocket but not HTTP", b)
		}
	})
}

func FuzzHTTP1Header(f *testing.F) {
	seed(f)
	f.Add([]byte("GET / HTTP/1.1\r\nhost: LOCALHOST \r\n\r\n"))
	m := matchers.HTTP1Header("Host", "localhost")
	f.Fuzz(func(t *testing.T, b []byte) {
		verify(t, m, b)
		if m.Match(matchers.Hello{Bytes: b}) == matchers.Yes && matchers.HTTP1().Match(matchers.Hello{Bytes: b}) == matchers.No {
			t.Errorf("%q has the field but is not HTTP", b)
		}
	})
}

func FuzzPROXY(f *testing.F) {
	seed(f)
	f.Add([]byte("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"))
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		verify(t, matchers.PROXY(), b)
		want := bytes.HasPrefix(b, []byte("PROXY ")) || bytes.HasPrefix(b, []byte("\r\n\r\n\x00\r\nQUIT\n"))
		if got := matchers.PROXY().Match(matchers.Hello{Bytes: b, EOF: true}) == matchers.Yes; got != want {
			t.Errorf("%q: %t, want %t", b, got, want)
		}
	})
}

// fed is a connection from which b can be read.
type fed struct {
	net.Conn // nil; crash on any unexpected use
	r        io.Reader
}

func (f *fed) Read(p []byte) (int, error)       { return f.r.Read(p) }
func (f *fed) Write(p []byte) (int, error)      { return len(p), nil }
func (f *fed) Close() error                     { return nil }
func (f *fed) SetDeadline(time.Time) error      { return nil }
func (f *fed) SetReadDeadline(time.Time) error  { return nil }
func (f *fed) SetWriteDeadline(time.Time) error { return nil }

// A ClientHello that crypto/tls can read has the server name and the protocols that crypto/tls
// finds.
func FuzzTLS(f *testing.F) {
	seed(f)
	f.Add([]byte(hello(f, &tls.Config{ServerName: "a.b", NextProtos: []string{"h2"}})))
	f.Add([]byte(split(hello(f, &tls.Config{ServerName: "a.b", NextProtos: []string{"h2"}}), 50)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > matchers.Window {
			return
		}
		// Joining a ClientHello that is split over records allocates.
		if bytes.Count(b, []byte("\x16\x03")) <= 1 {
			verify(t, matchers.AnyOf(matchers.SNI("a.b"), matchers.ALPN("h2"), matchers.TLSVersion(0x0303)), b)
		}
		var seen *tls.ClientHelloInfo
		_ = tls.Server(&fed{r: bytes.NewReader(b)}, &tls.Config{
			GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
				seen = i
				return nil, io.EOF
			},
		}).Handshake()
		if seen == nil {
			return
		}
		h := matchers.Hello{Bytes: b, EOF: true}
		if seen.ServerName != "" && matchers.TLS().Match(h) == matchers.Yes && matchers.SNI(seen.ServerName).Match(h) != matchers.Yes {
			t.Errorf("SNI(%q) does not match", seen.ServerName)
		}
		if len(seen.SupportedProtos) > 0 && matchers.TLS().Match(h) == matchers.Yes {
			if p := seen.SupportedProtos[0]; matchers.ALPN(p).Match(h) != matchers.Yes {
				t.Errorf("ALPN(%q) does not match", p)
			}
			if !slices.Contains(seen.SupportedProtos, "nobody") && matchers.ALPN("nobody").Match(h) != matchers.No {
				t.Error("ALPN(nobody) matches")
			}
		}
	})
}

func FuzzFromCmux(f *testing.F) {
	seed(f)
	m := matchers.FromCmux(cmux.HTTP1Fast("PATCH"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h := matchers.Hello{Bytes: b, EOF: true}
		want := cmux.HTTP1Fast("PATCH")(bytes.NewReader(b))
		if got := m.Match(h) == matchers.Yes; got != want {
			t.Errorf("%q: %t, cmux says %t", b, got, want)
		}
	})
}

func BenchmarkSNIAndALPN(b *testing.B) {
	h := matchers.Hello{Bytes: []byte(hello(b, &tls.Config{ServerName: "www.example.com", NextProtos: []string{"h2", "http/1.1"}}))}
	m := matchers.All(matchers.SNI("www.example.com"), matchers.ALPN("http/1.1"))
	b.ReportAllocs()
	for b.Loop() {
		if m.Match(h) != matchers.Yes {
			b.Fatal("no match")
		}
	}
}

func BenchmarkBuiltin(b *testing.B) {
	for _, name := range []string{"curl-post", "chromium-http", "chromium-ws", "nc-json"} {
		b.Run(name, func(b *testing.B) {
			first := testdata.Get(name).Bytes
			b.ReportAllocs()
			for b.Loop() {
				classify(first, false)
			}
		})
	}
}
