package chat

import (
	"strings"
	"testing"
)

func TestShown(t *testing.T) {
	for _, tt := range []struct{ route, first, want string }{
		{"http", "GET /a/b HTTP/1.1\r\nHost: localhost:8100\r\nUser-Agent: curl\r\nAcc", ""},
		{"http", "GET /?since=SECRET HTTP/1.1\r\n", "GET /"},
		{"http", "GET /a?x=1&token=SECRET HTTP/1.1\r\n", "GET /a"},
		{"http", "GET http://me:SECRET@x/ HTTP/1.1\r\n", "GET http"},
		{"http", "GET / HTTP/1.1\r\nAuthorization: Basic SECRET", "GET / HTTP/1.1\r\nAuth"},
		{"http", "GET / HTTP/1.1\r\nproxy-authorization: SECRET", "GET / HTTP/1.1\r\nproxy-auth"},
		{"http", "GET / HTTP/1.1\r\nCOOKIE: a=SECRET", "GET / HTTP/1.1\r\nCOOKIE"},
		{"http", "GET / HTTP/1.1\r\nX-Api-Key: SECRET", "GET / HTTP/1.1\r\nX-Api-Key"},
		{"http", "POST / HTTP/1.0\r\n\r\nSECRET", "POST / HTTP/1.0"},
		{"http", "POST / HTTP/1.0\n\nSECRET", "POST / HTTP/1.0"},
		{"websocket", "GET /chat?access_token=SECRET HTTP/1.1\r\nUpgrade: websocket", "GET /chat"},
		{"websocket", "GET / HTTP/1.1\r\nSec-WebSocket-Protocol: bearer, SECRET", "GET / HTTP/1.1\r\nSec-WebSocket-Protocol: bearer"},
		{"proxy", "PROXY UNKNOWN\r\nGET /?code=SECRET HTTP/1.1\r\n", "PROXY UNKNOWN\r\n"},
		{"proxy", "PROXY UNKNOWN\r\nPUT / HTTP/1.0\r\n\r\nSECRET", "PROXY UNKNOWN\r\n"},
		{"proxy", "PROXY TCP4 10.0.", ""},
		{"proxy", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00GET /SECRET", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"},
		{"raw", "get /a?code=SECRET HTTP/1.1\r\n", "get /a"},
		{"raw", "OPTIONS rtsp://me:SECRET@camera/ RTSP/1.0\r\n", "OPTIONS rtsp"},
		{"raw", "redis://:SECRET@db:6379\n", "redis"},
		{"mine", "REGISTER sip:me:SECRET@example.com SIP/2.0\r\n", "REGISTER sip"},
		{"raw", "either/or? https: me @home\n", "either/or"},
		{"raw", "and/or what? at 12:30 @home\n", ""},
		{"raw", "hello, how are you?\n", ""},
		{"raw", "PASS SECRET\r\n", "PASS"},
		{"raw", "pass SECRET\r\n", "pass"},
		{"raw", "NICK me\r\nPASS SECRET\r\n", "NICK me\r\nPASS"},
		{"raw", "AUTH PLAIN SECRET\r\n", "AUTH"},
		{"raw", "*2\r\n$4\r\nAUTH\r\n$6\r\nSECRET\r\n", "*2\r\n$4\r\nAUTH"},
		{"raw", "a1 LOGIN me SECRET\r\n", "a1 LOGIN"},
		{"raw", `CONNECT {"user":"me","pass":"SECRET"}`, `CONNECT {"user":"me","pass`},
		{"raw", `{"Password":"SECRET"}`, `{"Pass`},
		{"raw", "\x10\x20\x00\x04MQTT\x04\xc2\x00\x3c\x00\x02meSECRET", "\x10\x20\x00\x04MQTT\x04\xc2\x00\x3c\x00\x02me"},
		{"tls", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdefghijkl", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcde"},
		{"h2c", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x12SECRET", "PRI * HTTP/2.0\r\n"},
		{"ssh", "SSH-2.0-OpenSSH_9.9\r\n", ""},
		{"silent", "", ""},
	} {
		want := tt.want
		if want == "" {
			want = tt.first // all is shown
		}
		got := string(shown(tt.route, []byte(tt.first)))
		if got != want {
			t.Errorf("shown(%s, %q) = %q, want %q", tt.route, tt.first, got, want)
		}
		if strings.Contains(got, "SECRET") {
			t.Errorf("shown(%s, %q) = %q", tt.route, tt.first, got)
		}
	}
}
