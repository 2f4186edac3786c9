package httpd

import (
	"io"
	"strings"
	"testing"
)

// The lane takes a request only if each reader of HTTP would take it for the same one, and only
// whole. Its size ends it: what follows is left.
func TestLaneRequest(t *testing.T) {
	const head = "POST /a?b HTTP/1.1\r\nHost: x.example:80\r\n"
	for _, in := range []string{
		head + "\r\n", head + "Content-Length: 0\r\n\r\n", head + "content-length:3 \r\nUser-Agent: a\r\n\r\nabc",
		head + "Connection: Keep-Alive\r\nContent-Length: 3\r\n\r\na\r\n", "PUT / HTTP/1.1\r\nhOST:   [::1]  \r\n\r\n",
		head + "Cookie: \"a\"; b=c\r\nOrigin: null\r\nSec-Fetch-Mode: cors\r\n\r\n", head + "Accept:\r\n\r\n",
	} {
		for _, more := range []string{"", "\r\n", "POST", in} {
			var x laneExchange
			if size := x.parse([]byte(in+more), laneMost); size != len(in) {
				t.Fatalf("of %q the lane takes %d bytes", in+more, size)
			}
			r := &x.request
			_, want, _ := strings.Cut(in, "\r\n\r\n")
			if body, err := io.ReadAll(r.Body); err != nil || string(body) != want || r.ContentLength != int64(len(want)) {
				t.Errorf("%q: body %q, %v", in, body, err)
			}
		}
		for n := range len(in) {
			if new(laneExchange).parse([]byte(in[:n]), laneMost) > 0 {
				t.Errorf("the lane takes %q", in[:n])
			}
		}
		if new(laneExchange).parse([]byte(in), len(in)-1) > 0 {
			t.Errorf("the lane takes %d bytes", len(in))
		}
	}
	for _, in := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "post / HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.0\r\nHost: x\r\n\r\n", "POST  / HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST / HTTP/1.1 \r\nHost: x\r\n\r\n", "POST http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", "POST * HTTP/1.1\r\nHost: x\r\n\r\n", "POST /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /\x80 HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.1\nHost: x\r\n\r\n", "\r\n" + head + "\r\n", "POST / HTTP/1.1\r\n\r\n",
		"POST / HTTP/1.1\r\nHost:\r\n\r\n", "POST / HTTP/1.1\r\nHost: a b\r\n\r\n", "POST / HTTP/1.1\r\nHost: x@y\r\n\r\n", head + "Host: x.example:80\r\n\r\n",
		head + "Content-Length: 1\r\nContent-Length: 1\r\n\r\na", head + "Content-Length: +1\r\n\r\na", head + "Content-Length: 1, 1\r\n\r\na", head + "Content-Length:\r\n\r\n",
		head + "Content-Length: -0\r\n\r\n", head + "Content-Length: 99999999999999999999\r\n\r\n", head + "Content-Length: 1_0\r\n\r\n0123456789",
		head + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", head + "Expect: 100-continue\r\n\r\n", head + "Upgrade: h2c\r\n\r\n", head + "Content-Encoding: gzip\r\n\r\n",
		head + "Trailer: A\r\n\r\n", head + "Connection: close\r\n\r\n", head + "Connection: keep-alive, host\r\n\r\n", head + "X-Unknown: a\r\n\r\n",
		head + "Pragma: no-cache\r\n\r\n", head + "Accept: a\r\n b\r\n\r\n", head + "Accept : a\r\n\r\n", head + " Accept: a\r\n\r\n", head + "Accept\r\n\r\n", head + ": a\r\n\r\n",
		head + "Accept: a\nDnt: 1\r\n\r\n", head + "Accept: a\rb\r\n\r\n", head + "Accept: a\x00\r\n\r\n", head + "Accept: \x7f\r\n\r\n", head + "Accept: \xe4\r\n\r\n",
		head + "Accept: a\tb\r\n\r\n", head + "Accept: a\r\nAccept: b\r\n\r\n", head + "Cookie: " + strings.Repeat("a", laneMost) + "\r\n\r\n",
	} {
		if new(laneExchange).parse([]byte(in), laneMost) > 0 {
			t.Errorf("the lane takes %.200q", in)
		}
	}
}
