package portluck

import (
	"strings"
	"testing"
)

func TestParseProxyMalformed(t *testing.T) {
	for name, head := range map[string]string{
		"another protocol":   "GET / HTTP/1.1\r\n",
		"no family":          "PROXY \r\n",
		"unknown family":     "PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
		"IPv6 as IPv4":       "PROXY TCP4 ::1 ::1 1 2\r\n",
		"port too large":     "PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
		"port with a zero":   "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
		"no CR":              "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
		"two spaces":         "PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
		"too long":           "PROXY " + strings.Repeat("x", 200),
		"version 3":          proxyV2 + "\x31\x11\x00\x0c",
		"unknown command":    proxyV2 + "\x22\x11\x00\x0c",
		"too short for IPv4": proxyV2 + "\x21\x11\x00\x04abcd",
	} {
		if h, n, err := parseProxy([]byte(head)); err == nil {
			t.Errorf("%s: %+v, %d bytes", name, h, n)
		}
	}
}

// However the header is cut, it is read to the same end.
func FuzzParseProxy(f *testing.F) {
	f.Add([]byte("PROXY TCP4 1.2.3.4 5.6.7.8 12345 80\r\nrest"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte(proxyV2 + "\x21\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x30\x39\x00\x50rest"))
	f.Add([]byte(proxyV2 + "\x20\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		want, n, err := parseProxy(b)
		if n > 16+0xffff || n > 0 && err != nil {
			t.Fatalf("%d bytes of %d, %v", n, len(b), err)
		}
		for i := range min(len(b), 300) {
			h, k, e := parseProxy(b[:i])
			switch {
			case k == 0 && e == nil: // more
			case e != nil && err == nil && n > 0, k > 0 && (k != n || h != want):
				t.Fatalf("%q: %+v, %d, %v after %d bytes, then %+v, %d, %v", b, h, k, e, i, want, n, err)
			}
		}
	})
}
