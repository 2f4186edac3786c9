package websocket

import (
	"reflect"
	"strings"
	"testing"
)

// browser is the head that a browser sends.
const browser = "GET /room?a=b%20c HTTP/1.1\r\nHost: example.com:8100\r\nConnection: keep-alive, Upgrade\r\nPragma: no-cache\r\n" +
	"Cache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nUpgrade: websocket\r\nOrigin: http://example.com:8100\r\n" +
	"Sec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate\r\naccept-language: en-US,en;q=0.5\r\nCookie: a=b\r\ncookie: c=d\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"

// comparePlain reports a head of which plainRequest returns another request than net/http.
func comparePlain(t *testing.T, head []byte) {
	t.Helper()
	got := plainRequest(head)
	if got == nil {
		return
	}
	want, refused := readHead(head)
	if refused != nil {
		t.Errorf("%q is read, but refused: %v", head, refused)
	} else if !reflect.DeepEqual(got, want) {
		t.Errorf("%q:\n got %+v\nwant %+v", head, got, want)
	}
}

// The usual heads are read without net/http, with the same result; heads that need more are not.
func TestPlainRequest(t *testing.T) {
	t.Parallel()
	with := func(field string) string { return strings.Replace(good, key, key+field+"\r\n", 1) }
	for name, tt := range map[string]struct {
		in   string
		want bool
	}{
		"ordinary":                      {good, true},
		"a browser's":                   {browser, true},
		"lower case":                    {"GET / HTTP/1.1\r\nhost: x\r\nsec-websocket-key: a\r\n\r\n", true},
		"a path that begins with two":   {strings.Replace(good, "/chat", "//chat/a", 1), true},
		"a field twice":                 {with("A: 1\r\na: 2\r\nA:"), true},
		"white space around a value":    {with("A: \t b\t "), true},
		"Pragma alone":                  {with("Pragma: no-cache"), false},
		"a length":                      {with("Content-Length: 0"), false},
		"a trailer":                     {with("Trailer: A"), false},
		"an encoding":                   {with("Transfer-Encoding: chunked"), false},
		"Connection: close":             {with("Connection: CLOSE"), false},
		"no Host":                       {strings.Replace(good, "Host: x\r\n", "", 1), false},
		"an empty Host":                 {strings.Replace(good, "Host: x", "Host:", 1), false},
		"an empty Host and another":     {strings.Replace(good, "Host: x", "Host:\r\nHost: x", 1), false},
		"two Hosts":                     {with("Host: y"), false},
		"a line without a colon":        {with("abc"), false},
		"a line that continues another": {with("A: b\r\n c: d"), false},
		"a bare LF":                     {with("A: b\nC: d"), false},
		"HTTP/1.0":                      {strings.Replace(good, "HTTP/1.1", "HTTP/1.0", 1), false},
		"POST":                          {strings.Replace(good, "GET", "POST", 1), false},
		"an absolute target":            {strings.Replace(good, "/chat", "http://x/chat", 1), false},
	} {
		if got := plainRequest([]byte(tt.in)) != nil; got != tt.want {
			t.Errorf("%s: read is %t, want %t", name, got, tt.want)
		}
		comparePlain(t, []byte(tt.in))
	}
}

// FuzzPlainRequest compares plainRequest with net/http.
func FuzzPlainRequest(f *testing.F) {
	for _, s := range []string{
		good, browser, "GET / HTTP/1.1\r\nHost: x\r\nPragma: no-cache\r\nCache-Control: a\r\nConnection: xclosey\r\n\r\n",
		"GET /%zz?;a HTTP/1.1\r\nHost: x\r\n\r\n", "GET /?%zz HTTP/1.1\r\nHost: x\r\nA\xff: b\r\nB: \xff\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if n := endOfHead(in, 0); n > 0 {
			comparePlain(t, in[:n])
		}
	})
}
