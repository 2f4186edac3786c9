package tlsd

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var plainTests = []struct{ name, in, want string }{
	{"curl", "GET /x HTTP/1.1\r\nHost: localhost:8100\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n", "Try https://localhost:8100/"},
	{"Host not first", "GET / HTTP/1.1\r\nAccept: */*\r\nhOST:example.com \r\n\r\n", "Try https://example.com/"},
	{"line feeds only", "GET / HTTP/1.1\nHost: a.test\n\n", "Try https://a.test/"},
	{"IPv6", "GET / HTTP/1.1\r\nHost: [::1]:8100\r\n\r\n", "Try https://[::1]:8100/"},
	{"POST with a body", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nHost: b\r\n", "Try https://a.test/"},
	{"WebSocket", "GET / HTTP/1.1\r\nUpgrade: websocket\r\nHost: a.test\r\n\r\n", "Try https://a.test/"},
	{"HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n", "TLS only.\n"},
	{"preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "TLS only.\n"},
	{"Host in the body only", "GET / HTTP/1.1\r\n\r\nHost: a.test\r\n\r\n", "TLS only.\n"},
	{"markup", "GET / HTTP/1.1\r\nHost: <script>\r\n\r\n", "TLS only.\n"},
	{"control bytes", "GET / HTTP/1.1\r\nHost: a\x1b[31m\r\n\r\n", "TLS only.\n"},
	{"user info", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", "TLS only.\n"},
	{"empty Host", "GET / HTTP/1.1\r\nHost: \r\n\r\n", "TLS only.\n"},
	{"endless Host", "GET / HTTP/1.1\r\nHost: " + strings.Repeat("a", 300) + "\r\n\r\n", "TLS only.\n"},
	{"longer than is read", "GET /" + strings.Repeat("x", 64<<10) + " HTTP/1.1\r\nHost: a.test\r\n\r\n", "TLS only.\n"},
	{"no end", "GET / HTTP/1.1\r\nHost: a.test", "TLS only.\n"},
	{"nothing", "", "TLS only.\n"},
}

// TRAPS part 2, row 18: plain HTTP on a port for TLS gets an explanation, which no reset destroys.
func TestTraps2Row18RequireTLS(t *testing.T) {
	for _, test := range plainTests {
		t.Run(test.name, func(t *testing.T) {
			client, c, p := serveTCP(t, RequireTLS)
			if _, err := io.WriteString(client, test.in); err != nil {
				t.Fatal(err)
			}
			if err := client.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			checkPlain(t, client, test.want)
			if err := p.err(t); !errors.Is(err, ErrPlain) || c.open() {
				t.Errorf("Fail(%v), open %t, want %v, false", err, c.open(), ErrPlain)
			}
		})
	}
}

// checkPlain fails unless r has a whole response, and then ends.
func checkPlain(tb testing.TB, r io.Reader, want string) {
	tb.Helper()
	br := bufio.NewReader(r)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusBadRequest || !resp.Close || !strings.Contains(string(body), want) {
		tb.Errorf("response = %d, close %t, %q, %v, want 400, true, ...%q...", resp.StatusCode, resp.Close, body, err, want)
	}
	if _, err := br.ReadByte(); !errors.Is(err, io.EOF) {
		tb.Errorf("after the response: %v, want EOF", err)
	}
}

func TestRequireTLSAnswersHEADWithoutBody(t *testing.T) {
	client, _, _ := serveTCP(t, RequireTLS)
	if _, err := io.WriteString(client, "HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(client)
	if err != nil || !bytes.HasSuffix(got, []byte("\r\n\r\n")) {
		t.Errorf("response = %q, %v, want a head only", got, err)
	}
}

// A client that never ends its request is answered and disconnected.
func TestRequireTLSIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		client, c, p := serve(t, RequireTLS)
		done := make(chan struct{})
		go func() { // ends when the server closes
			defer close(done)
			for {
				if _, err := io.WriteString(client, "x"); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		checkPlain(t, client, "TLS only.")
		<-c.closed
		if got, most := time.Since(start), headTime+lingerTime; got > most {
			t.Errorf("closed after %v, want at most %v", got, most)
		}
		if err := p.err(t); !errors.Is(err, ErrPlain) {
			t.Errorf("Fail(%v), want %v", err, ErrPlain)
		}
		<-done
	})
}

// Without a matcher in front of it, plain HTTP reaches the handshake.
func TestHandshakeWithPlainHTTP(t *testing.T) {
	client, _, p := serveTCP(t, &Handler{Config: newConfig(t)})
	if _, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	checkPlain(t, client, "TLS only.")
	if err := p.err(t); err == nil {
		t.Error("no Fail")
	}
}

func FuzzPlainAnswer(f *testing.F) {
	for _, test := range plainTests {
		f.Add([]byte(test.in))
	}
	f.Fuzz(func(t *testing.T, head []byte) {
		answer := appendPlainAnswer(nil, head)
		req := &http.Request{Method: http.MethodGet}
		if bytes.HasPrefix(head, []byte("HEAD ")) {
			req.Method = http.MethodHead
		}
		br := bufio.NewReader(bytes.NewReader(answer))
		resp, err := http.ReadResponse(br, req)
		if err != nil {
			t.Fatalf("the answer %q is no response: %v", answer, err)
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || br.Buffered() > 0 {
			t.Errorf("the answer %q has a body that ends with %v, and %d bytes after", answer, err, br.Buffered())
		}
		host := hostOf(head)
		if host != "" && !bytes.Contains(head, []byte(host)) {
			t.Errorf("hostOf(%q) = %q, which is not there", head, host)
		}
		theirs, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
		if err == nil && host != "" && theirs.URL.Host == "" && theirs.Host != host {
			t.Errorf("hostOf(%q) = %q, net/http has %q", head, host, theirs.Host)
		}
	})
}
