package alldata

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// listen serves s on a free port of this machine until the test ends, and returns its URL.
func listen(t testing.TB, s *Server) (url string) {
	t.Helper()
	if s.Addr == "" {
		s.Addr = "127.0.0.1:0"
	}
	addr, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return "http://" + addr.String() + "/"
}

// puts records what OnPut got.
type puts struct {
	mu   sync.Mutex
	seen []string
	err  error // what OnPut returns
}

func (p *puts) put(_ context.Context, key string, event json.RawMessage) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, key+" "+string(event))
	return p.err
}

func (p *puts) all() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.seen, "; ")
}

const upstreamBody = `{"key":"key1","event":{"foo":"bar","baz":1}}`

// The tests of upstream's peer server, by their numbers in part B4 of SEEDS.md.
func TestUpstreamServer(t *testing.T) {
	tests := []struct {
		name, method, body string
		err                error // of OnPut
		status             int
		put                string // what OnPut got
	}{
		{"A3 a POST with a JSON body is a _put", "POST", upstreamBody, nil, 201, `key1 {"foo":"bar","baz":1}`},
		{"A4 a GET with that body is no _put", "GET", upstreamBody, nil, 405, ""},
		{"A5 a GET gets 405 and Allow: POST", "GET", "", nil, 405, ""},
		{"A6 an invalid JSON body is no _put", "POST", "{foo: 'bar', baz: 1}", nil, 400, ""},
		{"A7 an invalid JSON body gets 400", "POST", "{foo: 'bar', baz: 1}", errors.New("true"), 400, ""},
		{"A8 an error of OnPut gets 500", "POST", upstreamBody, errors.New("true"), 500, `key1 {"foo":"bar","baz":1}`},
		{"A9 no error of OnPut gets 201", "POST", upstreamBody, nil, 201, `key1 {"foo":"bar","baz":1}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &puts{err: tt.err}
			url := listen(t, &Server{Handler: &Handler{OnPut: p.put}})
			req, err := http.NewRequestWithContext(t.Context(), tt.method, url, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != tt.status || p.all() != tt.put {
				t.Errorf("status %d and _put %q, want %d and %q", resp.StatusCode, p.all(), tt.status, tt.put)
			}
			if got, want := resp.Header.Get("Allow"), map[int]string{405: "POST"}[tt.status]; got != want {
				t.Errorf("Allow: %q, want %q", got, want)
			}
			if body, _ := io.ReadAll(resp.Body); (tt.status == 201 || tt.status == 500) && len(body) > 0 {
				t.Errorf("body %q, want none", body)
			}
		})
	}
}

// A1: port 8080 by default, also on localhost; A2, A10 and A11: the address in the options.
func TestUpstreamServerAddress(t *testing.T) {
	p := &puts{}
	t.Run("A1 listens on port 8080 by default", func(t *testing.T) {
		s := &Server{Handler: &Handler{OnPut: p.put}}
		addr, err := s.Listen()
		if errors.Is(err, syscall.EADDRINUSE) && strings.Contains(err.Error(), ":8080") {
			return // another process has the port, so it was tried at least
		}
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if got := addr.(*net.TCPAddr); got.Port != 8080 || !got.IP.IsUnspecified() {
			t.Errorf("address %v, want port 8080 of every address", got)
		}
		defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		if err := (&Client{Attempts: 1}).Put(t.Context(), "key", json.RawMessage("1")); err != nil {
			t.Errorf("Put() to the defaults = %v", err)
		}
	})
	t.Run("A2 A10 A11 listens on the address of the options", func(t *testing.T) {
		var s *Server
		for try := 1; ; try++ {
			l, err := net.Listen("tcp", "127.0.0.1:0") // to find a free port
			if err != nil {
				t.Fatal(err)
			}
			l.Close()
			s = &Server{Addr: l.Addr().String(), Handler: &Handler{OnPut: p.put}}
			got, err := s.Listen()
			if errors.Is(err, syscall.EADDRINUSE) && try < 10 {
				continue // another process has taken it
			}
			if err != nil || got.String() != s.Addr {
				t.Fatalf("listening on %v, %v, want %s", got, err, s.Addr)
			}
			break
		}
		defer s.Close()
		defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		url := "http://" + s.Addr + "/"
		if err := (&Client{URL: url}).Put(t.Context(), "key", json.RawMessage("1")); err != nil {
			t.Errorf("Put() = %v", err)
		}
	})
}

// The tests of upstream's peer client, by their numbers in part B4 of SEEDS.md.
func TestUpstreamClient(t *testing.T) {
	var method, path, body string
	status := http.StatusCreated
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		method, path, body = r.Method, r.URL.Path, string(b)
		w.WriteHeader(status)
	}))
	defer srv.Close()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	put := func(c *Client) error {
		return c.Put(t.Context(), "key1", json.RawMessage(`{"foo": "bar"}`))
	}
	t.Run("C1 C6 C7 C8 method, path and port of the options", func(t *testing.T) {
		if err := put(&Client{Method: "PUT", URL: srv.URL + "/_put"}); err != nil || method != "PUT" || path != "/_put" {
			t.Errorf("Put() = %v by %s %s", err, method, path)
		}
		if err := put(&Client{URL: srv.URL}); err != nil || method != "POST" || path != "/" {
			t.Errorf("by default Put() = %v by %s %s", err, method, path)
		}
	})
	t.Run("C2 the body is key and event in JSON", func(t *testing.T) {
		if err := put(&Client{URL: srv.URL}); err != nil || body != `{"key":"key1","event":{"foo":"bar"}}` {
			t.Errorf("Put() = %v, body %q", err, body)
		}
	})
	t.Run("C3 the status 200 is an error", func(t *testing.T) {
		status = http.StatusOK
		var answer *StatusError
		if err := put(&Client{URL: srv.URL}); !errors.As(err, &answer) || answer.Status != 200 {
			t.Errorf("Put() = %v", err)
		}
	})
	t.Run("C4 nobody listening is an error", func(t *testing.T) {
		retries := 0
		c := &Client{
			URL: "http://127.0.0.1:1", Attempts: 3, MinBackoff: time.Millisecond,
			OnRetry: func(string, int, error) { retries++ },
		}
		var op *net.OpError
		if err := put(c); !errors.As(err, &op) || retries != 2 {
			t.Errorf("Put() = %v after %d retries, want 2", err, retries)
		}
	})
	t.Run("C5 the status 201 is success", func(t *testing.T) {
		status = http.StatusCreated
		if err := put(&Client{URL: srv.URL}); err != nil {
			t.Errorf("Put() = %v", err)
		}
	})
}

// The bytes that upstream's client sends, and those that it receives.
//
// from: node v20 client.js, alldata-peer-client-http 0.1.0, _put({hostname: '127.0.0.1'}, 'key1',
// {foo: 'bar', baz: 1, euro: '€'}); the port was changed to 8080.
func TestUpstreamWire(t *testing.T) {
	const request = "POST /_put HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"39\r\n{\"key\":\"key1\",\"event\":{\"foo\":\"bar\",\"baz\":1,\"euro\":\"€\"}}\r\n0\r\n\r\n"
	p := &puts{}
	url := listen(t, &Server{Handler: &Handler{OnPut: p.put}})
	c, err := net.Dial("tcp", strings.Trim(url, "htp:/"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	r := bufio.NewReader(c)
	expect := func(want ...string) {
		t.Helper()
		for _, want := range want {
			line, err := r.ReadString('\n')
			if err != nil || line != want+"\r\n" && !(want == "Date" && strings.HasPrefix(line, "Date: ")) {
				t.Fatalf("read %q, %v, want %q", line, err, want)
			}
		}
	}
	// The request may be split anywhere, even inside a character, which upstream would damage.
	for cut := range len(request) {
		if _, err := io.WriteString(c, request[:cut]); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, request[cut:]); err != nil {
			t.Fatal(err)
		}
		expect("HTTP/1.1 201 Created", "Date", "Content-Length: 0", "")
	}
	want := `key1 {"foo":"bar","baz":1,"euro":"€"}`
	for _, got := range p.seen {
		if got != want {
			t.Fatalf("_put %q, want %q", got, want)
		}
	}
	// The server ignores the body of a GET, and the connection can be used again.
	io.WriteString(c, strings.Replace(request, "POST", "GET", 1)+request)
	expect("HTTP/1.1 405 Method Not Allowed", "Allow: POST", "Content-Type: text/plain; charset=utf-8",
		"X-Content-Type-Options: nosniff", "Date", "Content-Length: 26", "")
	text := make([]byte, 26)
	if _, err := io.ReadFull(r, text); err != nil || string(text) != "_put is a POST, not a GET\n" {
		t.Fatalf("read %q, %v", text, err)
	}
	expect("HTTP/1.1 201 Created", "Date", "Content-Length: 0", "")
	if got := len(p.seen); got != len(request)+1 {
		t.Errorf("%d puts, want %d", got, len(request)+1)
	}
}

func TestUpstreamKeygen(t *testing.T) {
	var g Keygen
	last := ""
	for range 10 { // it prints 10 keys
		key := g.Next()
		if len(key) != KeyLen || key[8] != 'T' || key <= last {
			t.Errorf("Next() = %q after %q", key, last)
		}
		last = key
	}
}
