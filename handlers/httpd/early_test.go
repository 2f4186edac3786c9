package httpd

import (
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// An answer can end before the body of its request. What is left of the body is never taken for a
// request.
func TestEarlyDone(t *testing.T) {
	const smuggled = "POST /smuggled HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
	tests := []struct {
		name string
		head string
		done func(s handlers.Response, later <-chan struct{})
		want string // the Connection header
	}{
		{"in the callback", "Content-Length: 1000\r\n\r\nfirst line\n", func(s handlers.Response, _ <-chan struct{}) { s.Done() }, "close"},
		{"in the callback, chunked", "Transfer-Encoding: chunked\r\n\r\n" + chunk("first line\n"), func(s handlers.Response, _ <-chan struct{}) { s.End() }, "close"},
		{"later", "Content-Length: 1000\r\n\r\nfirst line\n", func(s handlers.Response, later <-chan struct{}) {
			go func() { // ends when the test has read the head of the answer
				<-later
				s.Done()
			}()
		}, ""},
		{"after the next write", "Content-Length: 1000\r\n\r\nfirst line\n", func(s handlers.Response, _ <-chan struct{}) {
			s.DoneAfterWrite()
			s.Write(nil, handlers.Auto)
		}, "close"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			soon(t, func() time.Duration {
				later := make(chan struct{})
				p := &port{message: func(_ string, s handlers.Response) error {
					s.Write([]byte("enough"), handlers.Auto)
					tt.done(s, later)
					return nil
				}}
				addr, conns := serve(t, &Handler{}, p)
				w := dial(t, addr)
				w.send("POST / HTTP/1.1\r\nHost: x\r\n" + tt.head)
				resp := w.head()
				close(later)
				begin := time.Now()
				if body, err := io.ReadAll(resp.Body); string(body) != "enough" || err != nil {
					t.Errorf("answer %q, %v", body, err)
				}
				if resp.Close != (tt.want == "close") {
					t.Errorf("Connection: close is %t", resp.Close)
				}
				w.send(smuggled)
				if rest, err := io.ReadAll(w.r); len(rest) > 0 || err != nil {
					t.Errorf("read %q, %v after the answer", rest, err)
				}
				took := time.Since(begin)
				want := []string{"connect http/1.1", "message first line", "disconnect"}
				if got := p.wait(t, 3); !slices.Equal(got, want) {
					t.Errorf("events %q", got)
				}
				w.Close()
				<-(<-conns).closed
				return took
			})
		})
	}
}

// A 413 ends at once, while the client still sends. The client is not reset before it has read the
// answer: TRAPS part 1, row 31.
func TestTraps1Row31TooLong(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{
		"chunked": chunked, "length": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n", "huge length": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			soon(t, func() time.Duration { return tooLong(t, name, head) })
		})
	}
}

// soon fails if each of many tries takes long. A busy machine may make some slow, but not all.
func soon(t *testing.T, try func() time.Duration) {
	t.Helper()
	soonest := try()
	for n := 0; n < 20 && soonest > lingerTime/2; n++ {
		soonest = min(soonest, try())
	}
	if soonest > lingerTime/2 {
		t.Errorf("it took %v at the soonest", soonest)
	}
}

// tooLong sends a message that is too long, and returns how long it took until the answer ended.
func tooLong(t *testing.T, name, head string) (took time.Duration) {
	t.Helper()
	p := &port{message: echo}
	addr, conns := serve(t, &Handler{Limit: 10}, p)
	w := dial(t, addr)
	body := strings.Repeat("x", 100_000)
	if name == "chunked" {
		body = chunk(body)
	}
	w.send(head + body) // everything, before any byte is read
	begin := time.Now()
	resp, text := w.answer()
	if resp.StatusCode != 413 || !strings.Contains(text, "too long") || !resp.Close {
		t.Errorf("answer %d %q, close %t", resp.StatusCode, text, resp.Close)
	}
	if rest, err := io.ReadAll(w.r); len(rest) > 0 || err != nil {
		t.Errorf("read %q, %v after the answer", rest, err)
	}
	took = time.Since(begin)
	if got := p.wait(t, 2); got[1] != "disconnect: "+handlers.ErrTooLong.Error() {
		t.Errorf("events %q", got)
	}
	w.Close()
	<-(<-conns).closed
	return took
}

// If the answer has begun already, the client sees that it breaks off.
func TestTooLongAfterHead(t *testing.T) {
	p := &port{message: echo}
	addr, _ := serve(t, &Handler{Limit: 10}, p)
	w := dial(t, addr)
	w.send(chunked + chunk("one\n"))
	resp := w.head()
	first := make([]byte, 4)
	if _, err := io.ReadFull(resp.Body, first); string(first) != "one\n" {
		t.Fatalf("read %q, %v", first, err)
	}
	w.send(chunk("much too long for this"))
	if rest, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) && err == nil {
		t.Errorf("read %q as if it were whole", rest)
	}
	p.wait(t, 3)
}

func TestTail(t *testing.T) {
	p := &port{message: echo}
	addr, _ := serve(t, &Handler{Limit: 5, Tail: true}, p)
	w := dial(t, addr)
	w.send(post("0123456789abc\nxy\n" + strings.Repeat("z", 20000) + "end"))
	w.expect(200, "89abc\nxy\nzzend\n")
}

func TestFailures(t *testing.T) {
	tests := []struct {
		name, request string
		connect       error
		status        int
		header        [2]string
		events        []string
	}{
		{"panic in OnMessage", "panic", nil, 500, [2]string{}, []string{"connect http/1.1", "message panic", "disconnect: " + handlers.ErrPanic.Error()}},
		{"panic in OnConnect", "x", handlers.ErrPanic, 500, [2]string{}, []string{"connect http/1.1"}},
		{"closing", "x", handlers.ErrShutdown, 503, [2]string{"Retry-After", "1"}, []string{"connect http/1.1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &port{message: func(string, handlers.Response) error { return handlers.ErrPanic }}
			p.connect = func(handlers.Response) error { return tt.connect }
			addr, _ := serve(t, &Handler{}, p)
			w := dial(t, addr)
			w.send(post(tt.request))
			resp := w.expect(tt.status, http.StatusText(tt.status)+"\n")
			if got := resp.Header.Get(tt.header[0]); got != tt.header[1] {
				t.Errorf("%s: %q", tt.header[0], got)
			}
			if got := p.wait(t, len(tt.events)); !slices.Equal(got, tt.events) {
				t.Errorf("events %q, want %q", got, tt.events)
			}
			if tt.connect != nil {
				return
			}
			p.message = echo // the connection can be used again
			w.send(post("again"))
			w.expect(200, "again\n")
		})
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
			if explicit { // with a reset, as an end alone may be only that of its half
				w.Conn.(*net.TCPConn).SetLinger(0)
			}
			w.Close()
			if got := p.wait(t, 3); !strings.HasPrefix(got[2], "disconnect: ") {
				t.Errorf("events %q", got)
			}
			<-(<-conns).closed
		})
	}
}
