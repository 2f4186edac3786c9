package httpd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/testdata/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// port is a handlers.Port whose clients are remembered and answered by the test.
type port struct {
	connect func(s handlers.Stream) error
	message func(msg string, s handlers.Stream) error

	mu   sync.Mutex
	seen []string
	more chan struct{} // has one when there is a new event
}

func (p *port) note(s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, s)
	select {
	case p.more <- struct{}{}:
	default:
	}
}

// wait waits for n events.
func (p *port) wait(t *testing.T, n int) []string {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		p.mu.Lock()
		got := slices.Clone(p.seen)
		p.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-p.more:
		case <-late:
			t.Fatalf("events %q, want %d", got, n)
		}
	}
}

func (p *port) Attach(handlers.Conn, handlers.Attachment) { panic("not used") }
func (p *port) Route(handlers.Conn)                       { panic("not used") }
func (p *port) Go(f func())                               { go f() }
func (p *port) Fail(_ *handlers.Info, err error)          { p.note("fail " + err.Error()) }

func (p *port) Connect(info *handlers.Info, s handlers.Stream) (handlers.Client, error) {
	p.note("connect " + info.Protocol)
	if p.connect != nil {
		if err := p.connect(s); err != nil {
			return nil, err
		}
	}
	return &client{p, s}, nil
}

type client struct {
	p *port
	s handlers.Stream
}

func (c *client) Message(m handlers.Message) error {
	c.p.note("message " + m.String())
	if c.p.message != nil {
		return c.p.message(m.String(), c.s)
	}
	return nil
}

func (c *client) Disconnect(err error) {
	if err != nil {
		c.p.note("disconnect: " + err.Error())
		return
	}
	c.p.note("disconnect")
}

func echo(msg string, s handlers.Stream) error { return s.Send([]byte(msg), handlers.Auto) }

// conn is a handlers.Conn that counts its Close.
type conn struct {
	net.Conn
	info   handlers.Info
	closed chan struct{}
	once   sync.Once
}

func (c *conn) Info() *handlers.Info       { return &c.info }
func (c *conn) NetConn() (net.Conn, error) { return c.Conn, nil }
func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// serve serves h for p on a port of loopback. It returns the connections too.
func serve(t *testing.T, h *Handler, p *port) (addr string, conns chan *conn) {
	t.Helper()
	p.more = make(chan struct{}, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns = make(chan *conn, 100)
	done := make(chan struct{})
	go func() { // ends when the listener is closed
		defer close(done)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			c := &conn{Conn: nc, closed: make(chan struct{})}
			c.info.Remote = nc.RemoteAddr().(*net.TCPAddr).AddrPort()
			conns <- c
			h.Serve(c, p)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		h.Close()
	})
	return l.Addr().String(), conns
}

// wire is a raw connection to the server.
type wire struct {
	*net.TCPConn
	t *testing.T
	r *bufio.Reader
}

func dial(t *testing.T, addr string) *wire {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	return &wire{c.(*net.TCPConn), t, bufio.NewReader(c)}
}

func (w *wire) send(s string) {
	w.t.Helper()
	if _, err := io.WriteString(w.TCPConn, s); err != nil {
		w.t.Fatal(err)
	}
}

// head reads the head of an answer.
func (w *wire) head() *http.Response {
	w.t.Helper()
	resp, err := http.ReadResponse(w.r, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp
}

// answer reads a whole answer.
func (w *wire) answer() (*http.Response, string) {
	w.t.Helper()
	resp := w.head()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatalf("body %q: %v", b, err)
	}
	return resp, string(b)
}

// expect holds that the answer is this one.
func (w *wire) expect(status int, body string) *http.Response {
	w.t.Helper()
	resp, got := w.answer()
	if resp.StatusCode != status || got != body {
		w.t.Errorf("answer %d %q, want %d %q", resp.StatusCode, got, status, body)
	}
	return resp
}

func post(body string) string {
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func chunk(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }

const chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

func TestLines(t *testing.T) {
	for body, want := range map[string][]string{
		"a\nb\n": {"a", "b"}, "a\nb": {"a", "b"}, "": nil, "\n": {""}, "a\r\n\n\nb": {"a\r", "", "", "b"},
		"no end": {"no end"},
	} {
		p := &port{message: echo}
		addr, _ := serve(t, &Handler{}, p)
		w := dial(t, addr)
		var answer string
		events := []string{"connect http/1.1"}
		for _, m := range want {
			answer += m + "\n"
			events = append(events, "message "+m)
		}
		events = append(events, "disconnect")
		w.send(post(body))
		w.expect(200, answer)
		if got := p.wait(t, len(events)); !slices.Equal(got, events) {
			t.Errorf("%q: events %q, want %q", body, got, events)
		}
	}
}

// Lines are answered as they come, in both directions at once.
func TestStreaming(t *testing.T) {
	p := &port{message: echo}
	addr, _ := serve(t, &Handler{}, p)
	w := dial(t, addr)
	w.send(chunked + chunk("one\n"))
	resp := w.head()
	body := bufio.NewReader(resp.Body)
	for _, line := range []string{"one\n", "two\n", "three\n"} {
		if got, err := body.ReadString('\n'); got != line {
			t.Fatalf("read %q, %v, want %q", got, err, line)
		}
		switch line {
		case "one\n":
			w.send(chunk("two\nthr"))
		case "two\n":
			w.send(chunk("ee\nfour"))
		}
	}
	w.send("0\r\n\r\n")
	if got, err := io.ReadAll(body); string(got) != "four\n" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	w.send(post("again"))
	w.expect(200, "again\n")
}

// streams are the versions of HTTP that a client of net/http speaks to the handler.
func TestStreamingHTTP2(t *testing.T) {
	p := &port{message: echo}
	addr, _ := serve(t, &Handler{}, p)
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols}
	defer transport.CloseIdleConnections()
	r, w := io.Pipe()
	req, _ := http.NewRequest(http.MethodPut, "http://"+addr+"/", r)
	go io.WriteString(w, "one\n") // ends when it is read
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body := bufio.NewReader(resp.Body)
	for _, line := range []string{"one\n", "two\n"} {
		if got, err := body.ReadString('\n'); got != line {
			t.Fatalf("read %q, %v", got, err)
		}
		io.WriteString(w, "two\n")
	}
	w.Close()
	io.Copy(io.Discard, body)
	if got := p.wait(t, 5); got[0] != "connect h2" || resp.ProtoMajor != 2 {
		t.Errorf("events %q, %s", got, resp.Proto)
	}
}

func TestPipelined(t *testing.T) {
	p := &port{message: echo}
	addr, _ := serve(t, &Handler{}, p)
	w := dial(t, addr)
	w.send(post("one") + post("two"))
	w.expect(200, "one\n")
	w.expect(200, "two\n")
}

func TestExpect(t *testing.T) {
	p := &port{message: echo, connect: func(s handlers.Stream) error {
		_, err := s.Write([]byte("hi "), handlers.Auto)
		return err
	}}
	addr, _ := serve(t, &Handler{}, p)
	w := dial(t, addr)
	const head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: "
	w.send(head + "100-continue\r\n\r\n")
	if resp := w.head(); resp.StatusCode != http.StatusContinue {
		t.Fatalf("status %d", resp.StatusCode)
	}
	w.send("a")
	w.expect(200, "hi a\n")
	w = dial(t, addr)
	w.send(head + "miracles\r\n\r\n")
	w.expect(417, "")
}

func TestOtherMethods(t *testing.T) {
	p := &port{message: echo}
	addr, _ := serve(t, &Handler{}, p)
	w := dial(t, addr)
	for _, method := range []string{"GET", "DELETE", "PATCH", "BREW"} {
		w.send(method + " /x HTTP/1.1\r\nHost: x\r\n\r\n")
		if resp := w.expect(405, "Allowed methods are POST or PUT."); resp.Header.Get("Allow") != "POST, PUT" {
			t.Errorf("%s: Allow: %q", method, resp.Header.Get("Allow"))
		}
	}
	w.send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
	if resp := w.expect(200, ""); resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("CORS headers without an Origin")
	}
	w.send(post("still open"))
	w.expect(200, "still open\n")
	w.send("HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if resp := w.head(); resp.StatusCode != 405 {
		t.Errorf("HEAD: %d", resp.StatusCode)
	}
	if rest, _ := io.ReadAll(w.r); len(rest) > 0 {
		t.Errorf("HEAD has a body %q", rest)
	}
	w = dial(t, addr)
	w.send("CONNECT a.b:443 HTTP/1.1\r\nHost: a.b:443\r\n\r\n")
	w.expect(405, "Allowed methods are POST or PUT.")
}

// Upgrade: h2c is not special: TRAPS part 2, row 17.
func TestTraps2Row17H2CUpgrade(t *testing.T) {
	addr, _ := serve(t, &Handler{}, &port{message: echo})
	w := dial(t, addr)
	w.send(strings.Replace(post("x"), "\r\n\r\n", "\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", 1))
	w.expect(200, "x\n")
}

func TestOrigins(t *testing.T) {
	tests := []struct {
		name, origin string
		check        func(*http.Request) bool
		status       int
	}{
		{"same", "http://X", nil, 200},
		{"same with port", "http://x:80", nil, 200},
		{"other", "http://y", nil, 400},
		{"other scheme", "https://x", nil, 400},
		{"null", "null", nil, 400},
		{"allowed", "http://y", func(*http.Request) bool { return true }, 200},
		{"none", "", func(*http.Request) bool { return false }, 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &port{}
			addr, _ := serve(t, &Handler{CheckOrigin: tt.check}, p)
			for _, method := range []string{"POST", "OPTIONS"} {
				w := dial(t, addr)
				origin := ""
				if tt.origin != "" {
					origin = "Origin: " + tt.origin + "\r\n"
				}
				w.send(method + " / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n" + origin + "\r\n")
				resp := w.expect(tt.status, "")
				got, want := resp.Header.Get("Access-Control-Allow-Origin"), tt.origin
				if tt.status != 200 {
					want = ""
				}
				if got != want {
					t.Errorf("%s: Access-Control-Allow-Origin: %q, want %q", method, got, want)
				}
			}
			if got := p.wait(t, 1); strings.HasPrefix(got[0], "connect") != (tt.status == 200) {
				t.Errorf("events %q", got)
			}
		})
	}
}

// An early answer ends at once, and what is left of the body is never taken for a request.
func TestEarlyDone(t *testing.T) {
	const smuggled = "POST /smuggled HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
	for name, done := range map[string]func(s handlers.Stream){
		"in the callback": func(s handlers.Stream) { s.Done() },
		"later":           func(s handlers.Stream) { time.AfterFunc(20*time.Millisecond, func() { s.Done() }) },
	} {
		t.Run(name, func(t *testing.T) {
			p := &port{message: func(_ string, s handlers.Stream) error {
				s.Write([]byte("enough"), handlers.Auto)
				done(s)
				return nil
			}}
			addr, _ := serve(t, &Handler{}, p)
			w := dial(t, addr)
			w.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nfirst line\n")
			resp := w.head()
			if body, err := io.ReadAll(resp.Body); string(body) != "enough" || err != nil {
				t.Errorf("answer %q, %v", body, err)
			}
			w.send(smuggled)
			io.Copy(io.Discard, w.r)
			if got := fmt.Sprint(p.wait(t, 3)); got != "[connect http/1.1 message first line disconnect]" {
				t.Errorf("events %s", got)
			}
		})
	}
}

// A client that is told 413 while it sends reads all of that: TRAPS part 1, row 31.
func TestTraps1Row31TooLong(t *testing.T) {
	p := &port{}
	addr, _ := serve(t, &Handler{Limit: 10}, p)
	w := dial(t, addr)
	w.send(chunked + chunk(strings.Repeat("x", 11)))
	stop := make(chan struct{})
	sent := make(chan struct{})
	go func() { // ends when the test has its answer
		defer close(sent)
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := io.WriteString(w.TCPConn, chunk("more")); err != nil {
					return
				}
				time.Sleep(time.Millisecond)
			}
		}
	}()
	resp, body := w.answer()
	if resp.StatusCode != 413 || !strings.Contains(body, "too long") {
		t.Errorf("answer %d %q", resp.StatusCode, body)
	}
	close(stop)
	<-sent
	if got := p.wait(t, 2); got[1] != "disconnect: "+handlers.ErrTooLong.Error() {
		t.Errorf("events %q", got)
	}
}

func TestTail(t *testing.T) {
	p := &port{message: echo}
	addr, _ := serve(t, &Handler{Limit: 5, Tail: true}, p)
	w := dial(t, addr)
	w.send(post("0123456789abc\nxy\n" + strings.Repeat("z", 20000) + "end"))
	w.expect(200, "89abc\nxy\nzzend\n")
}

func TestDone(t *testing.T) {
	later := func(f func()) { time.AfterFunc(20*time.Millisecond, f) }
	tests := []struct {
		name     string
		explicit bool
		message  func(s handlers.Stream)
		status   int
		body     string
		end      string
	}{
		{"nothing", false, func(handlers.Stream) {}, 200, "", ""},
		{"done after a later write", false, func(s handlers.Stream) {
			s.DoneAfterWrite()
			later(func() { s.Write([]byte("late"), handlers.Auto) })
		}, 200, "late", ""},
		{"explicit", true, func(s handlers.Stream) {
			s.Write([]byte("soon "), handlers.Auto)
			later(func() {
				s.Write([]byte("late"), handlers.Auto)
				s.End()
			})
		}, 200, "soon late", ""},
		{"status and header", false, func(s handlers.Stream) {
			s.Header().Set("X-Ours", "1")
			s.WriteHeader(202)
			s.WriteHeader(500)
		}, 202, "", ""},
		{"never", true, func(handlers.Stream) {}, 503, "", errUnanswered.Error()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stream handlers.Stream
			p := &port{message: func(_ string, s handlers.Stream) error {
				stream = s
				tt.message(s)
				return nil
			}}
			addr, _ := serve(t, &Handler{ExplicitDone: tt.explicit, IdleTimeout: 100 * time.Millisecond}, p)
			w := dial(t, addr)
			w.send(post("x"))
			resp, body := w.answer()
			if resp.StatusCode != tt.status || tt.body != "" && body != tt.body {
				t.Errorf("answer %d %q, want %d %q", resp.StatusCode, body, tt.status, tt.body)
			}
			want := "disconnect"
			if tt.end != "" {
				want += ": " + tt.end
			}
			if got := p.wait(t, 3); got[2] != want {
				t.Errorf("events %q", got)
			}
			if err := stream.Send(nil, handlers.Auto); !errors.Is(err, handlers.ErrClosed) {
				t.Errorf("a write after the end: %v", err)
			}
		})
	}
}

func TestFailures(t *testing.T) {
	p := &port{message: func(msg string, s handlers.Stream) error {
		switch msg {
		case "panic":
			return handlers.ErrPanic
		case "destroy":
			s.Write([]byte("lost"), handlers.Auto)
			s.Destroy()
		}
		return nil
	}}
	addr, _ := serve(t, &Handler{}, p)
	w := dial(t, addr)
	w.send(post("panic"))
	if resp, _ := w.answer(); resp.StatusCode != 500 {
		t.Errorf("status %d", resp.StatusCode)
	}
	w = dial(t, addr)
	w.send(post("destroy"))
	if b, _ := io.ReadAll(w.r); len(b) > 0 {
		t.Errorf("read %q after Destroy", b)
	}
	if got := p.wait(t, 6); got[2] != "disconnect: "+handlers.ErrPanic.Error() || got[5] != "disconnect" {
		t.Errorf("events %q", got)
	}
	closing := &port{connect: func(handlers.Stream) error { return handlers.ErrShutdown }}
	addr, _ = serve(t, &Handler{}, closing)
	w = dial(t, addr)
	w.send(post("x"))
	if resp, _ := w.answer(); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("status %d %v", resp.StatusCode, resp.Header)
	}
}

func TestClientGoes(t *testing.T) {
	for name, explicit := range map[string]bool{"in the body": false, "while the answer is open": true} {
		t.Run(name, func(t *testing.T) {
			p := &port{}
			addr, conns := serve(t, &Handler{ExplicitDone: explicit}, p)
			w := dial(t, addr)
			if explicit {
				w.send(post("x\n"))
			} else {
				w.send(chunked + chunk("x\n"))
			}
			p.wait(t, 2)
			w.Close()
			if got := p.wait(t, 3); !strings.HasPrefix(got[2], "disconnect: ") {
				t.Errorf("events %q", got)
			}
			<-(<-conns).closed
		})
	}
}

func TestSlowReader(t *testing.T) {
	streams := make(chan handlers.Stream, 1)
	p := &port{message: func(_ string, s handlers.Stream) error {
		streams <- s
		return nil
	}}
	addr, _ := serve(t, &Handler{ExplicitDone: true, IdleTimeout: 200 * time.Millisecond}, p)
	w := dial(t, addr)
	w.SetReadBuffer(4 << 10)
	w.send(post("x"))
	s := <-streams
	big := bytes.Repeat([]byte("y"), 1<<16)
	var err error
	for range 10000 {
		if err = s.TrySend(big, handlers.Auto); err != nil {
			break
		}
	}
	if !errors.Is(err, handlers.ErrSlow) {
		t.Errorf("TrySend = %v, want ErrSlow", err)
	}
	if got := p.wait(t, 3); got[2] != "disconnect: "+handlers.ErrSlow.Error() {
		t.Errorf("events %.300q", got)
	}
}

func TestConcurrentWriters(t *testing.T) {
	const writers, each = 8, 200
	p := &port{message: func(_ string, s handlers.Stream) error {
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				for j := range each {
					s.Send(fmt.Appendf(nil, "%d-%d", i, j), handlers.Auto)
				}
			})
		}
		wg.Wait()
		return nil
	}}
	addr, _ := serve(t, &Handler{}, p)
	w := dial(t, addr)
	w.send(post("x"))
	_, body := w.answer()
	next := [writers]int{}
	for line := range strings.Lines(body) {
		var i, j int
		if _, err := fmt.Sscanf(line, "%d-%d\n", &i, &j); err != nil || j != next[i] {
			t.Fatalf("line %q: %v", line, err)
		}
		next[i]++
	}
	if next != [writers]int{each, each, each, each, each, each, each, each} {
		t.Errorf("lines %v", next)
	}
}

func TestPagesAndUpgrade(t *testing.T) {
	upgraded := make(chan string, 1)
	h := &Handler{
		Upgrade: func(w http.ResponseWriter, r *http.Request, _ handlers.Conn, _ handlers.Port) {
			upgraded <- r.URL.Path
			w.WriteHeader(http.StatusTeapot)
		},
		Pages: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/hijack" {
				c, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				io.WriteString(c, "hijacked")
				c.Close()
				return
			}
			if _, ok := w.(io.ReaderFrom); !ok {
				t.Error("no ReaderFrom: files are copied through user memory")
			}
			fmt.Fprintf(w, "page for %s", strings.Split(r.RemoteAddr, ":")[0])
		}),
	}
	addr, conns := serve(t, h, &port{message: echo})
	w := dial(t, addr)
	w.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	w.expect(200, "page for 127.0.0.1")
	w.send(post("between"))
	w.expect(200, "between\n")
	// A connection that has served others upgrades: TRAPS part 1, row 22.
	w.send("GET /ws HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n")
	w.expect(418, "")
	if got := <-upgraded; got != "/ws" {
		t.Errorf("upgraded %q", got)
	}
	<-conns
	w = dial(t, addr)
	w.send("GET /hijack HTTP/1.1\r\nHost: x\r\n\r\n")
	if b, _ := io.ReadAll(w.r); string(b) != "hijacked" {
		t.Errorf("read %q", b)
	}
	<-(<-conns).closed
}

// Two kinds of requests on one HTTP/2 connection: TRAPS part 1, row 23.
func TestTraps1Row23OneConnection(t *testing.T) {
	h := &Handler{Pages: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
	})}
	addr, conns := serve(t, h, &port{message: echo})
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	c := &http.Client{Transport: &http.Transport{Protocols: &protocols}}
	defer c.CloseIdleConnections()
	for _, kind := range []string{"application/grpc", "application/json"} {
		req, _ := http.NewRequest(http.MethodGet, "http://"+addr, nil)
		req.Header.Set("Content-Type", kind)
		resp, err := c.Do(req)
		if err != nil || resp.Header.Get("Content-Type") != kind {
			t.Fatalf("%s: %v, %v", kind, resp, err)
		}
		resp.Body.Close()
	}
	if len(conns) != 1 {
		t.Errorf("%d connections", len(conns))
	}
}

func TestShutdownFinishesRequests(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	p := &port{message: func(msg string, s handlers.Stream) error {
		close(begun)
		<-end
		return echo(msg, s)
	}}
	h := &Handler{}
	addr, _ := serve(t, h, p)
	w := dial(t, addr)
	w.send(post("finish me"))
	<-begun
	down := make(chan error)
	go func() { down <- h.Shutdown(context.Background()) }()
	close(end)
	w.expect(200, "finish me\n")
	if err := <-down; err != nil {
		t.Errorf("Shutdown() = %v", err)
	}
}

func FuzzSplitter(f *testing.F) {
	f.Add([]byte("a\nb\n\nc"), uint8(3), false)
	f.Add([]byte("0123456789abc\n"), uint8(1), true)
	f.Fuzz(func(t *testing.T, body []byte, size uint8, tail bool) {
		run := func(size int) (all []string, err error) {
			s := splitter{limit: 8, tail: tail}
			deliver := func(msg []byte) error {
				all = append(all, string(msg))
				return nil
			}
			for p := body; len(p) > 0 && err == nil; p = p[min(size, len(p)):] {
				err = s.feed(p[:min(size, len(p))], deliver)
			}
			if err == nil {
				err = s.end(deliver)
			}
			return all, err
		}
		want, wantErr := run(len(body) + 1)
		got, err := run(int(size) + 1)
		if !slices.Equal(got, want) || (err == nil) != (wantErr == nil) {
			t.Errorf("by %d: %q, %v, want %q, %v", size, got, err, want, wantErr)
		}
	})
}

func ExampleHandler() {
	h := &Handler{
		Pages: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }),
		Limit: 64 << 10,
	}
	fmt.Println(h.maxHeaderBytes())
	// Output: 65536
}
