package websocket

import (
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/portluck/portluck/testdata"
)

// TestIsPlain tests which requests are plain, and which are left to net/http.
func TestIsPlain(t *testing.T) {
	with := func(field string) string { return strings.Replace(good, key, key+field+"\r\n", 1) }
	for name, tt := range map[string]struct {
		in   string
		want bool
	}{
		"the RFC's":              {good, true},
		"frames behind it":       {good + "\x81\x80abcd", true},
		"a list":                 {strings.Replace(good, "websocket", "h2c, WebSocket", 1), true},
		"a query":                {strings.Replace(good, "/chat", "/a%20b?c=d", 1), true},
		"Connection: close":      {with("Connection: close"), true},
		"an origin":              {with("Origin: http://evil.example"), true},
		"as long as may be":      {with("A: " + strings.Repeat("b", maxPlain-len(with("A: ")))), true},
		"a byte longer":          {with("A: " + strings.Repeat("b", maxPlain+1-len(with("A: ")))), false},
		"nothing":                {"", false},
		"without its end":        {good[:len(good)-2], false},
		"line feeds alone":       {strings.ReplaceAll(good, "\r\n", "\n"), false},
		"a line feed in between": {with("A: b\nC: d"), false},
		"HTTP/1.0":               {strings.Replace(good, "HTTP/1.1", "HTTP/1.0", 1), false},
		"POST":                   {strings.Replace(good, "GET", "POST", 1), false},
		"an absolute target":     {strings.Replace(good, "/chat", "http://x/chat", 1), false},
		"no target":              {strings.Replace(good, "/chat", "", 1), false},
		"% and one digit":        {strings.Replace(good, "/chat", "/%4", 1), false},
		"% and no digits":        {strings.Replace(good, "/chat", "/%4x", 1), false},
		"% at the end":           {strings.Replace(good, "/chat", "/%41", 1), true},
		"a target not ASCII":     {strings.Replace(good, "/chat", "/\x80", 1), false},
		"a DEL in the target":    {strings.Replace(good, "/chat", "/\x7f", 1), false},
		"no Host":                {strings.Replace(good, "Host: x\r\n", "", 1), false},
		"an empty Host":          {strings.Replace(good, "Host: x", "Host:", 1), false},
		"two Hosts":              {with("Host: x"), false},
		"two keys":               {with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), false},
		"two versions":           {with("Sec-WebSocket-Version: 13"), false},
		"no Upgrade":             {strings.Replace(good, "Upgrade: websocket", "Upgrade: foo", 1), false},
		"no Connection: Upgrade": {strings.Replace(good, "Connection: Upgrade", "Connection: close", 1), false},
		"Content-Length: 0":      {with("Content-Length: 0"), false},
		"Transfer-Encoding":      {with("Transfer-Encoding: chunked"), false},
		"Expect":                 {with("Expect: 100-continue"), false},
		"a fold":                 {with("A: b\r\n c"), false},
		"a field without colon":  {with("A"), false},
		"a control character":    {with("A: \x01"), false},
		"a DEL":                  {with("A: \x7f"), false},
		"a tab and Latin-1":      {with("A: a\tb\xe9"), true},
	} {
		if got := IsPlain([]byte(tt.in)); got != tt.want {
			t.Errorf("%s: %t, want %t", name, got, tt.want)
		}
	}
}

// A plain handshake is accepted, and net/http reads the same request from it.
func FuzzIsPlain(f *testing.F) {
	f.Add([]byte(good))
	for _, line := range oddRequestLines {
		f.Add([]byte(strings.Replace(good, "GET /chat HTTP/1.1", line, 1)))
	}
	for _, line := range oddFields {
		f.Add([]byte(strings.Replace(good, key, key+line+"\r\n", 1)))
	}
	for _, host := range oddHosts {
		f.Add([]byte(strings.Replace(good, "Host: x", "Host: "+host, 1)))
	}
	for _, tr := range testdata.All() {
		if tr.Class == testdata.WebSocket {
			f.Add(tr.Bytes)
		}
	}
	conns, requests := make(peers), make(chan *http.Request, 1)
	s := &http.Server{MaxHeaderBytes: maxHead, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { requests <- r })}
	s.SetKeepAlivesEnabled(false) // only the first request is compared
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(conns) }() // ends with conns
	f.Cleanup(func() { close(conns); <-done; s.Close() })
	f.Fuzz(func(t *testing.T, in []byte) {
		if !IsPlain(in) {
			return
		}
		d := shake(&Handler{CheckOrigin: func(*http.Request) bool { return true }}, string(in), whole)
		their := conns.accepts(in, requests)
		if status, _ := statusOf(t, d.out); status != http.StatusSwitchingProtocols || their == nil {
			t.Fatalf("answered %d, by net/http served: %t", status, their != nil)
		}
		our, err := parseHead(in[:endOfHead(in, 0)])
		if err != nil {
			t.Fatal(err)
		}
		for _, pair := range [][2]any{
			{our.Method, their.Method},
			{our.RequestURI, their.RequestURI},
			{our.URL, their.URL},
			{our.Host, their.Host},
			{our.Proto, their.Proto},
			{our.Header, their.Header},
			{our.ContentLength, their.ContentLength},
			{our.Close, their.Close},
		} {
			if !reflect.DeepEqual(pair[0], pair[1]) {
				t.Errorf("we read %#v, net/http %#v", pair[0], pair[1])
			}
		}
	})
}
