package matchers_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/portluck/portluck/matchers"
	"github.com/portluck/portluck/testdata"
	"github.com/soheilhy/cmux"
)

func match(m matchers.Matcher, s string) matchers.Verdict {
	return m.Match(matchers.Hello{Bytes: []byte(s)})
}

// verdicts checks that m answers "yes", "no" or "more" to each sample, as want says.
func verdicts(t *testing.T, m matchers.Matcher, want map[string]string) {
	t.Helper()
	for s, w := range want {
		got := "more"
		switch match(m, s) {
		case matchers.Yes:
			got = "yes"
		case matchers.No:
			got = "no"
		}
		if got != w {
			t.Errorf("%.60q: %s, want %s", s, got, w)
		}
	}
}

// The rows of TRAPS part 1.

func TestTraps1Row15DecidedAtOnce(t *testing.T) {
	verdicts(t, matchers.HTTP1(), map[string]string{"HI\n": "no", strings.Repeat("\x00", 64): "no", "{": "no", "": "more", "HI": "more"})
}

func TestTraps1Row16Methods(t *testing.T) {
	for _, method := range []string{
		"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "PURGE", "M-SEARCH", "QUERY",
		"VERSION-CONTROL", "UPDATEREDIRECTREF", "get", "Post",
	} {
		verdicts(t, matchers.HTTP1(), map[string]string{method + " /": "yes", method + " * ": "yes", method + " x HTTP/1.1\r\n": "yes"})
	}
	verdicts(t, matchers.HTTP1(), map[string]string{"BREW /pot HTTP/1.1\r\n": "yes", "BREW /pot": "more", "CONNECT a.b:443 ": "yes"})
}

func TestTraps1Row17NoSpaceNoMethod(t *testing.T) {
	verdicts(t, matchers.HTTP1(), map[string]string{
		"GETTING STARTED\n": "no", "POSTGRES..\n": "no", "DELETED rows\n": "no", "GET\n": "no", "GET stuff\n": "no",
		"PUT a longer line\n": "no", "Please help me\n": "no", "GET some HTTP/ docs please\n": "no",
		"\"GET / HTTP/1.1\"\n": "no",
	})
}

func TestTraps1Row18TLSVersions(t *testing.T) {
	only12, only13 := hello(t, &tls.Config{MaxVersion: tls.VersionTLS12}), hello(t, &tls.Config{MinVersion: tls.VersionTLS13})
	both := hello(t, &tls.Config{MinVersion: tls.VersionTLS12})
	v12, v13, v10 := matchers.TLSVersion(tls.VersionTLS12), matchers.TLSVersion(tls.VersionTLS13), matchers.TLSVersion(tls.VersionTLS10)
	verdicts(t, v12, map[string]string{only12: "yes", only13: "no", both: "yes"})
	verdicts(t, v13, map[string]string{only12: "no", only13: "yes", both: "yes"})
	verdicts(t, v10, map[string]string{only13: "no"})
}

func TestTraps1Row19NotTLS(t *testing.T) {
	whole := hello(t, &tls.Config{})
	verdicts(t, matchers.TLS(), map[string]string{
		"\x16\x03\x01\xff\xff\x09\x00\x00": "no", "\x16\x03": "more", "\x16\x03\x01\x00\x00": "no", "\x16\x02": "no",
		"\x15\x03\x01\x00\x02": "no", whole: "yes", whole[:11]: "yes", whole[:10]: "more",
	})
}

func TestTraps1Row20Host(t *testing.T) {
	m := matchers.HTTP1Header("Host", "example.com")
	verdicts(t, m, map[string]string{
		"GET / HTTP/1.1\r\nhost: Example.com \r\n":    "yes",
		"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n": "no",
		"GET / HTTP/1.1\r\nHost: example.com":         "more",
		"GET / HTTP/1.1\r\nHoſt: example.com\r\n\r\n": "no",
	})
}

func TestTraps1Row21Upgrade(t *testing.T) {
	const get = "GET / HTTP/1.1\r\n"
	verdicts(t, matchers.WebSocket(), map[string]string{
		get + "Upgrade: WebSocket\r\n":                        "yes",
		get + "upgrade: h2c, websocket\r\n":                   "yes",
		get + "Upgrade: h2c\r\nX: y\r\nUPGRADE:websocket\r\n": "yes",
		get + "Upgrade: websockets\r\n\r\n":                   "no",
		get + "Upgrade: webſocket\r\n\r\n":                    "no",
		get + "Upgrade: websocket":                            "more",
		"POST / HTTP/1.1\r\nUpgrade: websocket\r\n":           "no",
		"P": "no",
		"GET / HTTP/1.0\r\nUpgrade: websocket\r\n":             "no",
		get + "X: " + strings.Repeat("y", matchers.TextWindow): "no",
		get + "X: y\r\n\r\nUpgrade: websocket\r\n":             "no",
	})
}

func TestTraps1Row25Preface(t *testing.T) {
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	for n := range len(preface) {
		verdicts(t, matchers.HTTP2(), map[string]string{preface[:n]: "more"})
	}
	verdicts(t, matchers.HTTP2(), map[string]string{preface: "yes", "PRI * HTTP/2.0\r\n\r\nSN": "no"})
}

func TestTraps1Row27EmptyPrefixes(t *testing.T) {
	verdicts(t, matchers.Prefix(), map[string]string{"": "no", "x": "no"})
	verdicts(t, matchers.Prefix(""), map[string]string{"": "no", "x": "no"})
}

// Nothing that a browser can be made to send reaches raw: TRAPS part 2, row 1.
func TestTraps2Row1NeverRaw(t *testing.T) {
	var corpus []string
	for _, method := range []string{"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "get", "pOsT"} {
		for _, target := range []string{"/", "/a?b", "*", "http://x/", "HTTPS://x/", "/%0d%0aSET%20a%20b"} {
			for _, version := range []string{" HTTP/1.1\r\n", " HTTP/1.0\r\n", " http/1.1\r\n", "\r\n", "\n", " FTP/9\r\n"} {
				corpus = append(corpus, method+" "+target+version)
			}
		}
	}
	for _, lead := range []string{"\r\n", "\n", " ", "\r\n\r\n", "\t", "  \r\n "} {
		corpus = append(corpus, lead+"GET / HTTP/1.1\r\n", lead+"POST /x HTTP/1.1\r\n", lead+"FOO bar HTTP/1.1\r\n")
	}
	corpus = append(corpus,
		"CONNECT example.com:443 HTTP/1.1\r\n", "CONNECT [::1]:443\r\n", "PRI * HTTP/2.0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nXX",
		"GET  /two-spaces HTTP/1.1\r\n", "X-CUSTOM x HTTP/1.1\r\n", "foo bar http/1.1\r\n",
		"GET /"+strings.Repeat("a", 3*matchers.TextWindow))
	if len(corpus) < 200 {
		t.Errorf("%d samples, want 200", len(corpus))
	}
	for _, s := range corpus {
		if got := classify([]byte(s), false); got == testdata.Raw {
			t.Errorf("%.60q is raw", s)
		}
		if got := classify([]byte(s), true); got == testdata.Raw {
			t.Errorf("%.60q with EOF is raw", s)
		}
	}
}

// recorder is a connection that records what a client writes.
type recorder struct {
	net.Conn // nil; crash on any unexpected use
	bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) { return r.Buffer.Write(p) }
func (r *recorder) Read([]byte) (int, error)    { return 0, io.EOF }
func (r *recorder) Close() error                { return nil }

// hello returns the ClientHello of crypto/tls.
func hello(t testing.TB, c *tls.Config) string {
	t.Helper()
	if c.ServerName == "" {
		c.InsecureSkipVerify = true
	}
	var r recorder
	_ = tls.Client(&r, c).Handshake() // fails, as no answer comes
	if r.Len() == 0 {
		t.Fatal("no ClientHello")
	}
	return r.String()
}

// split splits the handshake message of a record into records of n bytes.
func split(record string, n int) string {
	var out strings.Builder
	for body := record[5:]; len(body) > 0; {
		k := min(n, len(body))
		out.WriteString(record[:3] + string([]byte{byte(k >> 8), byte(k)}) + body[:k])
		body = body[k:]
	}
	return out.String()
}

func TestSNIAndALPN(t *testing.T) {
	h := hello(t, &tls.Config{ServerName: "www.Example.com", NextProtos: []string{"h2", "http/1.1"}})
	for name, sample := range map[string]string{"whole": h, "split": split(h, 100), "much split": split(h, 40)} {
		t.Run(name, func(t *testing.T) {
			for m, want := range map[string]matchers.Matcher{
				"sni": matchers.SNI("www.example.com"), "star": matchers.SNI("nobody", "*.example.com"),
				"alpn": matchers.ALPN("spdy", "h2"), "both": matchers.All(matchers.SNI("www.example.com"), matchers.ALPN("http/1.1")),
			} {
				if got := match(want, sample); got != matchers.Yes {
					t.Errorf("%s: %d", m, got)
				}
			}
			for m, want := range map[string]matchers.Matcher{
				"sni": matchers.SNI("example.com", "*.com", "*.www.example.com"), "alpn": matchers.ALPN("h", "h3"),
			} {
				if got := match(want, sample); got != matchers.No {
					t.Errorf("other %s: %d", m, got)
				}
			}
			if v := match(matchers.SNI("x"), sample[:len(sample)-1]); v.Needed() < len(sample) && v.Needed() == 0 {
				t.Errorf("cut short: %d", v)
			}
		})
	}
}

func TestCombinations(t *testing.T) {
	yes, no := matchers.Any(), matchers.Not(matchers.Any())
	more := matchers.Prefix("xyz")
	for name, tt := range map[string]struct {
		m    matchers.Matcher
		want matchers.Verdict
	}{
		"all of none": {matchers.All(), matchers.Yes}, "any of none": {matchers.AnyOf(), matchers.No},
		"no decides all": {matchers.All(more, no), matchers.No}, "yes decides any": {matchers.AnyOf(more, yes), matchers.Yes},
		"all waits": {matchers.All(yes, more), matchers.Need(2)}, "any waits": {matchers.AnyOf(no, more), matchers.Need(2)},
		"not waits": {matchers.Not(more), matchers.Need(2)},
	} {
		if got := match(tt.m, "x"); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

func TestFrom(t *testing.T) {
	m := matchers.From(netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32"))
	for addr, want := range map[string]matchers.Verdict{
		"127.1.2.3": matchers.Yes, "::ffff:127.0.0.1": matchers.Yes, "2001:db8::1": matchers.Yes, "8.8.8.8": matchers.No,
	} {
		h := matchers.Hello{Remote: netip.AddrPortFrom(netip.MustParseAddr(addr), 1)}
		if got := m.Match(h); got != want {
			t.Errorf("%s: %d, want %d", addr, got, want)
		}
	}
}

func TestRegexp(t *testing.T) {
	verdicts(t, matchers.Regexp(regexp.MustCompile(`\A(GET|SET) \w+`), 32), map[string]string{
		"GET a": "yes", "DEL": "no", "GET ": "more", "GET" + strings.Repeat("x", 29): "no",
	})
	verdicts(t, matchers.Regexp(regexp.MustCompile(`\Aab$`), 8), map[string]string{"ab": "more", "abcdefgh": "no"})
}

func TestCmuxBothWays(t *testing.T) {
	for s, want := range map[string]bool{"SSH-2.0-x\r\n": true, "SSL": false, "SS": false} {
		if got := matchers.Cmux(matchers.SSH())(iotest{strings.NewReader(s)}); got != want {
			t.Errorf("Cmux(SSH)(%q) = %t", s, got)
		}
	}
	verdicts(t, matchers.FromCmux(cmux.TLS()), map[string]string{"\x16\x03\x01": "yes", "\x16\x03": "more", "GET ": "no"})
	verdicts(t, matchers.FromCmux(cmux.PrefixMatcher("hello")), map[string]string{"hello": "yes", "hel": "more", "world!": "no", "world": "more"})
	if got := matchers.FromCmux(cmux.TLS()).Match(matchers.Hello{Bytes: []byte("\x16"), EOF: true}); got != matchers.No {
		t.Errorf("at the end: %d", got)
	}
}

// FromCmux asks for more bytes even if the matcher reads by another method than Read.
func TestFromCmuxHidesTheReader(t *testing.T) {
	copies := func(r io.Reader) bool {
		var b bytes.Buffer
		_, _ = io.Copy(&b, r)
		return b.String() == "hello"
	}
	verdicts(t, matchers.FromCmux(copies), map[string]string{"hel": "more", "hello": "yes"})
}

// iotest is a reader that returns one byte for each Read.
type iotest struct{ r io.Reader }

func (i iotest) Read(p []byte) (int, error) { return i.r.Read(p[:min(1, len(p))]) }

// Sets of random words, with the input cut anywhere: TRAPS part 1, row 26.
func TestTraps1Row26PrefixSets(t *testing.T) {
	for range 2000 {
		var words []string
		for range rand.IntN(5) {
			words = append(words, strings.Repeat("ab", rand.IntN(4))+string(rune('a'+rand.IntN(3))))
		}
		m := matchers.Prefix(words...)
		s := strings.Repeat("ab", 4)[:rand.IntN(8)]
		want := matchers.No
		for _, w := range words {
			if strings.HasPrefix(s, w) {
				want = matchers.Yes
			}
		}
		if got := m.Match(matchers.Hello{Bytes: []byte(s), EOF: true}); got != want {
			t.Errorf("Prefix(%q) of %q = %d, want %d", words, s, got, want)
		}
	}
}

func ExampleAll() {
	internal := matchers.All(matchers.SSH(), matchers.From(netip.MustParsePrefix("10.0.0.0/8")))
	h := matchers.Hello{Bytes: []byte("SSH-2.0-OpenSSH_9.9\r\n"), Remote: netip.MustParseAddrPort("10.1.2.3:4567")}
	fmt.Println(internal.Match(h) == matchers.Yes)
	// Output: true
}
