package websocket

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/portluck/portluck/handlers"
)

// The end of a head is found wherever the input was split before, and nothing else is taken for it.
func TestEndOfHead(t *testing.T) {
	for in, want := range map[string]int{
		"":                     0,
		"a":                    0,
		"\n":                   0,
		"\r\n":                 0,
		"a\r\n\r":              0,
		"a\r\n\r\n":            5,
		"a\n\n":                3,
		"a\n\r\n":              4,
		"a\r\n\n":              4,
		"a\r\nb\r\n\r\nc\n\n":  8,
		"a\r\n\rb\r\n\r\n":     9,
		"a\r\n\r\r\n":          0,
		"\n\n":                 2,
		"\r\n\r\nframes\n\n\n": 4,
	} {
		for scanned := range len(in) + 1 {
			if want > 0 && scanned >= want {
				break // it would have been found
			}
			if got := endOfHead([]byte(in), scanned); got != want {
				t.Errorf("endOfHead(%q, %d) = %d, want %d", in, scanned, got, want)
			}
		}
	}
}

// A head may have up to maxHead bytes.
func TestHeadBounds(t *testing.T) {
	long := func(n int) string {
		return strings.Replace(good, key, key+"A: "+strings.Repeat("b", n-len(good)-len("A: \r\n"))+"\r\n", 1)
	}
	for name, tt := range map[string]struct {
		in     string
		status int
	}{
		"as long":       {long(maxHead), 101},
		"a byte longer": {long(maxHead + 1), 431},
	} {
		if status, _ := statusOf(t, shake(&Handler{}, tt.in, whole).out); status != tt.status {
			t.Errorf("%s: status %d, want %d", name, status, tt.status)
		}
	}
	s := &handshake{handler: &Handler{}, info: &handlers.Info{}}
	m := handlers.Messages{Events: &driver{}}
	endless := []byte("GET /" + strings.Repeat("a", maxHead))
	if n, err := s.Decode(endless[:maxHead], &m); n != 0 || err != nil {
		t.Errorf("%d bytes without an end: %d, %v", maxHead, n, err)
	}
	if _, err := s.Decode(endless[:maxHead+1], &m); err == nil {
		t.Errorf("%d bytes without an end are no error", maxHead+1)
	}
}

// The bytes that are allowed in the value of a field and in a Host.
func TestBytesOfFields(t *testing.T) {
	for c := range 0x100 {
		if c == '\n' || c == '\r' {
			continue
		}
		b := string([]byte{byte(c)})
		value := strings.Replace(good, key, key+"X: a"+b+"b\r\n", 1)
		want := 101
		if c < ' ' && c != '\t' || c == 0x7f {
			want = 400
		}
		if status, _ := statusOf(t, shake(&Handler{}, value, whole).out); status != want {
			t.Errorf("%q in a value: status %d, want %d", b, status, want)
		}
		want = 400
		if strings.Contains("!$%&'()*+,-.:;=[]_~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", b) {
			want = 101
		}
		isTokenByte := strings.Contains("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", b)
		if got := isToken(b); got != isTokenByte || utf8.ValidString(b) && isToken("a"+b+"z") != isTokenByte {
			t.Errorf("isToken(%q) = %t", b, got)
		}
		if got := isHost([]byte("a" + b + "z")); got != (want == 101) {
			t.Errorf("isHost of %q = %t", b, got)
		}
	}
	if isToken("") {
		t.Error("nothing is a token")
	}
}

// A handshake lacks one of its requirements at a time.
func TestHandshakeNeeds(t *testing.T) {
	with := func(field string) string { return strings.Replace(good, key, key+field+"\r\n", 1) }
	for name, tt := range map[string]struct {
		in     string
		status int
	}{
		"a length of 0":     {with("Content-Length: 0"), 101},
		"a length of 1":     {with("Content-Length: 1"), 400},
		"HTTP/2.0":          {strings.Replace(good, "HTTP/1.1", "HTTP/2.0", 1), 400},
		"HTTP/1.2":          {strings.Replace(good, "HTTP/1.1", "HTTP/1.2", 1), 101},
		"HTTP/0.9":          {strings.Replace(good, "HTTP/1.1", "HTTP/0.9", 1), 400},
		"Connection: close": {strings.Replace(good, "Connection: Upgrade", "Connection: close", 1), 426},
		"no version":        {strings.Replace(good, "Sec-WebSocket-Version: 13\r\n", "", 1), 426},
		"an empty Host":     {strings.Replace(good, "Host: x", "Host:", 1), 400},
		"a key of 15 bytes": {strings.Replace(good, "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j", 1), 400},
		"a key of 17 bytes": {strings.Replace(good, "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZWE=", 1), 400},
		// White space around a value is not a part of it.
		"a key and more":        {strings.Replace(good, "ZQ==", "ZQ== ", 1), 101},
		"bytes behind the head": {good + "\x81", 101},
	} {
		if status, _ := statusOf(t, shake(&Handler{}, tt.in, whole).out); status != tt.status {
			t.Errorf("%s: status %d, want %d", name, status, tt.status)
		}
	}
}

// A handshake is answered once. An incomplete one is answered only if the client can act on the
// reason.
func TestHandshakeAnsweredOnce(t *testing.T) {
	s := &handshake{handler: &Handler{}, info: &handlers.Info{}}
	if got := s.AppendClose([]byte("x"), errors.New("else")); string(got) != "x" {
		t.Errorf("AppendClose() = %q", got)
	}
	m := handlers.Messages{Events: &driver{}}
	if _, err := s.Decode([]byte(good), &m); err != nil {
		t.Fatal(err)
	}
	if got := s.AppendClose(nil, handlers.ErrShutdown); len(got) > 0 {
		t.Errorf("AppendClose() after the answer = %q", got)
	}
	s = &handshake{handler: &Handler{}, info: &handlers.Info{}}
	if _, err := s.Decode([]byte("x\r\n\r\n"), &m); err == nil {
		t.Fatal("x is a handshake")
	}
	if got := s.AppendClose(nil, handlers.ErrTimeout); len(got) > 0 {
		t.Errorf("AppendClose() after the refusal = %q", got)
	}
	if s.AppendWrite(nil, []byte("x"), handlers.Auto) != nil || s.AppendMessage(nil, []byte("x"), handlers.Auto) != nil {
		t.Error("a handshake sends messages")
	}
}

// Without an offer, or if it is declined, the answer has no extensions field.
func TestNoExtensionsInTheAnswer(t *testing.T) {
	for offer, want := range map[string]bool{"": false, "foo": false, "permessage-deflate": true} {
		in := strings.Replace(good, key, key+"Sec-WebSocket-Extensions: "+offer+"\r\n", 1)
		_, header := statusOf(t, shake(&Handler{CompressMin: 1}, in, whole).out)
		if _, ok := header["Sec-Websocket-Extensions"]; ok != want {
			t.Errorf("%q is answered with %v", offer, header)
		}
	}
}

// Over HTTP/2 a refusal has no connection-specific fields.
func TestRefusalsOfBothVersions(t *testing.T) {
	for version, want := range map[int]string{1: "close, Upgrade websocket 13", 2: "  13"} {
		w := httptest.NewRecorder()
		(&refusal{status: http.StatusUpgradeRequired}).write(w, &http.Request{ProtoMajor: version})
		h := w.Header()
		if got := strings.Join(h.Values("Connection"), ", ") + " " + h.Get("Upgrade") + " " + h.Get("Sec-WebSocket-Version"); got != want {
			t.Errorf("HTTP/%d: %q, want %q", version, got, want)
		}
	}
}

// The reader of a head is pooled. With the race detector the pool drops every fourth.
func TestHeadReadersAreUsedAgain(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		if _, err := parseHead([]byte(good)); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 100*maxPlain*2/3 {
		t.Errorf("%d bytes for 100 heads", n)
	}
}

// deadlines records the deadlines of a connection.
type deadlines struct {
	net.Conn // nil; crash on any unexpected use
	set      []bool
	err      error // of Write
}

func (d *deadlines) SetDeadline(at time.Time) error { d.set = append(d.set, !at.IsZero()); return nil }
func (d *deadlines) Write(p []byte) (int, error)    { return len(p), d.err }

// The answer to a late handshake has a write deadline, which is removed afterwards.
func TestGreet(t *testing.T) {
	d := &deadlines{}
	if err := greet(d, []byte("x")); err != nil || !slices.Equal(d.set, []bool{true, false}) {
		t.Errorf("greet() = %v, deadlines %v", err, d.set)
	}
	d = &deadlines{err: net.ErrClosed}
	if err := greet(d, []byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("greet() = %v, want ErrClosed", err)
	}
}
