package portluck

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// These are the tests of upstream's suite, by their number in SEEDS.md part B1. A test in which we
// differ on purpose says so.

const upstreamLine = `{"test":true}`

// sniffSoon is the SniffTimeout of tests that wait for it. Even on a busy machine the first bytes
// of a new client come in that time.
const sniffSoon = time.Second

func TestUpstreamP1RawLineAndFIN(t *testing.T) {
	hub, e := record(nil)
	var remote string
	hub.OnConnect = func(_ *Writer, c *Client) {
		remote = c.Remote().Addr().String()
		e.note("connect " + c.Scheme())
	}
	addr := serve(t, &Server{Hub: hub})
	talk(t, addr, upstreamLine+"\n")
	e.want(t, "connect tcp", "message "+upstreamLine, "disconnect tcp")
	if remote != "127.0.0.1" {
		t.Errorf("remote address %q", remote)
	}
	if n := hub.Len(); n != 0 {
		t.Errorf("%d clients are left", n)
	}
}

func TestUpstreamP2RawAfterSilence(t *testing.T) {
	t.Parallel()
	hub, e := record(nil)
	addr := serve(t, &Server{Hub: hub, SniffTimeout: sniffSoon})
	c := dial(t, addr)
	e.want(t, "connect tcp") // after SniffTimeout
	send(t, c, upstreamLine+"\n")
	c.CloseWrite()
	expectEnd(t, c)
	e.want(t, "connect tcp", "message "+upstreamLine, "disconnect tcp")
}

func TestUpstreamP3RawWithoutLineEnd(t *testing.T) {
	hub, e := record(nil)
	talk(t, serve(t, &Server{Hub: hub}), upstreamLine)
	e.want(t, "connect tcp", "message "+upstreamLine, "disconnect tcp")
	if n := hub.Len(); n != 0 {
		t.Errorf("%d clients are left", n)
	}
}

func TestUpstreamP4ChunkedPost(t *testing.T) {
	hub, e := record(nil)
	var request *http.Request
	hub.OnConnect = func(_ *Writer, c *Client) {
		request = c.Request()
		e.note("connect " + c.Scheme())
	}
	addr := serve(t, &Server{Hub: hub})
	body := struct{ io.Reader }{strings.NewReader(upstreamLine)} // its length is not known: chunked
	if status, got := post(t, http.DefaultTransport, "http://"+addr, body); status != 200 || got != "" {
		t.Errorf("answer %d %q", status, got)
	}
	e.want(t, "connect http", "message "+upstreamLine, "disconnect http")
	if request == nil || request.Method != http.MethodPost {
		t.Errorf("Request() = %v", request)
	}
}

// A request line in pieces: P5 to P8.
func TestUpstreamP5toP8HTTPInPieces(t *testing.T) {
	t.Parallel()
	rest := "HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\n\r\n" + upstreamLine + "\n"
	tests := []struct {
		name   string
		pieces []string
	}{
		{"P5", []string{"POS", "T", " /HTiTP " + rest}},
		{"P6", []string{"P", "UT", " / " + rest}},
		{"P7", []string{"", "POST", " / " + rest}},
		{"P8", []string{"POST /HTiTP HT", strings.TrimPrefix(rest, "HT")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hub, e := record(nil)
			addr := serve(t, &Server{Hub: hub})
			c := dial(t, addr)
			for _, piece := range tt.pieces {
				send(t, c, piece)
				pauseFor(100 * time.Millisecond)
			}
			c.CloseWrite()
			if got := expectEnd(t, c); !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") {
				t.Errorf("answer %q", got)
			}
			e.want(t, "connect http", "message "+upstreamLine, "disconnect http")
		})
	}
}

func TestUpstreamP9WriteOnConnect(t *testing.T) {
	hub := &Hub{OnConnect: func(w *Writer, _ *Client) { w.WriteString("hello") }}
	if got := talk(t, serve(t, &Server{Hub: hub}), "{}\n"); got != "hello" {
		t.Errorf("read %q", got)
	}
}

func TestUpstreamP10DoneDoesNotEndRaw(t *testing.T) {
	hub := &Hub{OnMessage: func(_ Message, w *Writer, _ *Client) {
		w.WriteString("text")
		w.Done()
	}}
	c := dial(t, serve(t, &Server{Hub: hub}))
	for range 2 {
		send(t, c, "{}\n")
		expect(t, c, "text")
	}
}

func TestUpstreamP11SilentClientIsGreeted(t *testing.T) {
	t.Parallel()
	hub := &Hub{OnConnect: func(w *Writer, _ *Client) { w.WriteString("hello") }}
	c := dial(t, serve(t, &Server{Hub: hub, SniffTimeout: sniffSoon}))
	expect(t, c, "hello")
}

func TestUpstreamP12PostWithoutBody(t *testing.T) {
	hub := &Hub{OnConnect: func(w *Writer, _ *Client) {
		w.WriteString("text")
		w.Done()
	}}
	addr := serve(t, &Server{Hub: hub})
	if status, got := post(t, http.DefaultTransport, "http://"+addr, nil); status != 200 || got != "text" {
		t.Errorf("answer %d %q", status, got)
	}
}

// The ways of answering a POST: P13 to P16.
func TestUpstreamP13toP16Answers(t *testing.T) {
	t.Parallel()
	later := func(f func()) { time.AfterFunc(100*time.Millisecond, f) }
	tests := []struct {
		name     string
		explicit bool
		answer   func(w *Writer)
	}{
		{"P13 write", false, func(w *Writer) { w.WriteString("text") }},
		{"P14 explicit done later", true, func(w *Writer) {
			later(func() {
				w.WriteString("text")
				w.Done()
			})
		}},
		{"P15 done after a later write", false, func(w *Writer) {
			w.DoneAfterWrite()
			later(func() { w.WriteString("text") })
		}},
		{"P16 done after write, done at once", false, func(w *Writer) {
			w.DoneAfterWrite()
			w.WriteString("text")
			w.Done()
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hub := &Hub{OnMessage: func(_ Message, w *Writer, _ *Client) { tt.answer(w) }}
			addr := serve(t, &Server{Hub: hub, ExplicitDone: tt.explicit})
			status, got := post(t, http.DefaultTransport, "http://"+addr, strings.NewReader(upstreamLine))
			if status != 200 || got != "text" {
				t.Errorf("answer %d %q", status, got)
			}
		})
	}
}

func TestUpstreamP17Get(t *testing.T) {
	t.Parallel()
	hub, e := record(nil)
	addr := serve(t, &Server{Hub: hub})
	resp, err := http.Get("http://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed || string(body) != "Allowed methods are POST or PUT." {
		t.Errorf("answer %d %q", resp.StatusCode, body)
	}
	e.want(t)
}

// Pages is our equivalent of upstream's invalidMethodHandler.
func TestUpstreamP18Pages(t *testing.T) {
	pages := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ours" {
			io.WriteString(w, "ours")
			return
		}
		http.Error(w, "no", http.StatusMethodNotAllowed)
	})
	addr := serve(t, &Server{Pages: pages})
	for path, want := range map[string]int{"/ours": 200, "/theirs": 405} {
		resp, err := http.Get("http://" + addr + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("GET %s: %d, want %d", path, resp.StatusCode, want)
		}
	}
}

func TestUpstreamP30P31WebSocket(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"ws", "wss"} {
		t.Run(scheme, func(t *testing.T) {
			hub, e := record(func(_ Message, w *Writer) { w.WriteString("response") })
			addr := serve(t, &Server{Hub: hub, TLSConfig: withTLS()})
			c := dialWS(t, scheme+"://"+addr)
			c.send(t, Text, upstreamLine)
			c.expect(t, Text, "response")
			c.close(t)
			e.want(t, "connect "+scheme, "message "+upstreamLine, "disconnect "+scheme)
			if n := hub.Len(); n != 0 {
				t.Errorf("%d clients are left", n)
			}
		})
	}
}

func TestUpstreamP32Close(t *testing.T) {
	s := &Server{}
	serve(t, s)
	if err := s.Shutdown(context.Background()); err != nil {
		t.Errorf("Shutdown() = %v", err)
	}
}

// Each line of a POST is a message, and the answers are joined without separators.
func TestUpstreamExtraLines(t *testing.T) {
	hub, e := record(func(m Message, w *Writer) { w.Write(m.Data) })
	addr := serve(t, &Server{Hub: hub})
	status, got := post(t, http.DefaultTransport, "http://"+addr+"/any/path?x=y", strings.NewReader("a\nb\nc"))
	if status != 200 || got != "abc" {
		t.Errorf("answer %d %q", status, got)
	}
	e.want(t, "connect http", "message a", "message b", "message c", "disconnect http")
}

// A client that is silent for longer than SniffTimeout may still speak any protocol.
func TestUpstreamExtraAfterSilence(t *testing.T) {
	t.Parallel()
	hub, e := record(echo)
	s := &Server{Hub: hub, TLSConfig: withTLS(), SniffTimeout: sniffSoon}
	allowHandshakes(t, s)
	addr := serve(t, s)
	plain, secure := dial(t, addr), dial(t, addr)
	e.want(t, "connect tcp", "connect tcp")
	send(t, plain, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
	if got := expectEnd(t, plain); !strings.HasSuffix(got, "\r\n\r\nhi\n") {
		t.Errorf("read %q", got)
	}
	c := tls.Client(secure, &tls.Config{InsecureSkipVerify: true})
	send(t, c, "over TLS\n")
	expect(t, c, "over TLS\n")
	c.Close()
	got := e.waitFor(10)
	slices.Sort(got)
	want := []string{
		"connect http", "connect tcp", "connect tcp", "connect tls", "disconnect http", "disconnect tcp",
		"disconnect tcp", "disconnect tls", "message hi", "message over TLS",
	}
	if !slices.Equal(got, want) {
		t.Errorf("events\n got %q\nwant %q", got, want)
	}
}

// What the server has sent to a silent client must not become the answer to its later request:
// TRAPS part 2, row 19.
func TestTraps2Row19BannerThenHTTP(t *testing.T) {
	t.Parallel()
	hub, e := record(echo)
	hub.OnConnect = func(w *Writer, _ *Client) { w.WriteString("banner\n") }
	addr := serve(t, &Server{Hub: hub, SniffTimeout: sniffSoon})
	c := dial(t, addr)
	expect(t, c, "banner\n")
	send(t, c, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi")
	if got := expectEnd(t, c); strings.Contains(got, "200") {
		t.Errorf("read %q", got)
	}
	for _, ev := range e.waitFor(1) {
		if strings.HasPrefix(ev, "message") {
			t.Errorf("event %q", ev)
		}
	}
}

// post sends body and returns the answer.
func post(t testing.TB, transport http.RoundTripper, url string, body io.Reader) (status int, answer string) {
	t.Helper()
	client := &http.Client{Transport: transport, Timeout: patience}
	resp, err := client.Post(url, "text/plain", body)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// request sends raw bytes of HTTP/1.1 and returns one answer with its body.
func request(t testing.TB, c io.ReadWriter, r *bufio.Reader, raw string) (*http.Response, string) {
	t.Helper()
	send(t, c, raw)
	method, _, _ := strings.Cut(raw, " ")
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("after %.40q: %v", raw, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}
