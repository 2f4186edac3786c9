package httpd

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/portluck/portluck/handlers"
)

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

// A body in a Content-Encoding is refused and makes no messages.
func TestContentEncoding(t *testing.T) {
	for coding, want := range map[string]int{
		"gzip": 415, "Br": 415, "identity, zstd": 415, "x": 415, "identity": 200, "Identity , ": 200, "": 200,
	} {
		for _, method := range []string{"POST", "PUT"} {
			p := &port{message: echo}
			addr, _ := serve(t, &Handler{}, p)
			w := dial(t, addr)
			w.send(method + " / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Encoding: " + coding + "\r\n\r\nhi")
			resp, body := w.answer()
			if resp.StatusCode != want || len(body) == 0 || (resp.Header.Get("Accept-Encoding") == "identity") != (want == 415) {
				t.Errorf("%s with %q: %d %q %v, want %d", method, coding, resp.StatusCode, body, resp.Header, want)
			}
			if got := p.events(); want == 415 && len(got) > 0 {
				t.Errorf("%s with %q: events %q", method, coding, got)
			}
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

func TestPipelined(t *testing.T) {
	p := &port{message: echo}
	addr, _ := serve(t, &Handler{}, p)
	w := dial(t, addr)
	w.send(post("one") + post("two"))
	w.expect(200, "one\n")
	w.expect(200, "two\n")
}

func TestExpect(t *testing.T) {
	p := &port{message: echo, connect: func(s handlers.Response) error {
		_, err := s.Write([]byte("hi "), handlers.Auto)
		return err
	}}
	addr, _ := serve(t, &Handler{}, p)
	const head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: "
	for _, expect := range []string{"100-continue", "100-Continue"} {
		w := dial(t, addr)
		w.send(head + expect + "\r\n\r\n")
		if resp := w.head(); resp.StatusCode != 100 {
			t.Fatalf("%s: status %d", expect, resp.StatusCode)
		}
		w.send("a")
		w.expect(200, "hi a\n")
	}
	w := dial(t, addr)
	w.send(head + "miracles\r\n\r\n")
	w.expect(417, "")
}

// A client that waits for 100 Continue does not get it if the answer has ended already.
func TestExpectNothing(t *testing.T) {
	p := &port{connect: func(s handlers.Response) error {
		s.Write([]byte("no need"), handlers.Auto)
		return s.Done()
	}}
	addr, _ := serve(t, &Handler{}, p)
	w := dial(t, addr)
	w.send("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
	w.expect(200, "no need")
}

// A request that net/http refuses makes no client.
func TestMalformed(t *testing.T) {
	for name, request := range map[string]string{
		"no host":            "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx",
		"header of no colon": "POST / HTTP/1.1\r\nHost: x\r\nbroken\r\n\r\n",
		"two lengths":        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
		"negative length":    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
		"HTTP/0.9":           "POST /index.html\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			p := &port{message: echo}
			addr, _ := serve(t, &Handler{}, p)
			w := dial(t, addr)
			w.send(request)
			if resp, _ := w.answer(); resp.StatusCode != 400 {
				t.Errorf("status %d, want 400", resp.StatusCode)
			}
			if got := p.events(); got != nil {
				t.Errorf("events %q", got)
			}
		})
	}
}

// Raw messages in the body of a request stay messages of this client: TRAPS part 2, row 2.
func TestTraps2Row2BodyIsBody(t *testing.T) {
	p := &port{message: echo}
	addr, _ := serve(t, &Handler{}, p)
	w := dial(t, addr)
	const body = "QUIT\nPOST / HTTP/1.1\nHost: evil\n\n"
	w.send(post(body))
	w.expect(200, body)
	if got := p.wait(t, 6); got[0] != "connect http/1.1" || got[5] != "disconnect" || len(got) != 6 {
		t.Errorf("events %q", got)
	}
}

func TestBadChunks(t *testing.T) {
	t.Parallel()
	p := &port{message: echo}
	addr, conns := serve(t, &Handler{}, p)
	w := dial(t, addr)
	w.send(chunked + "zz\r\n")
	w.answer()
	if got := p.wait(t, 2); !strings.HasPrefix(got[1], "disconnect: ") {
		t.Errorf("events %q", got)
	}
	if _, err := io.Copy(io.Discard, w.r); err != nil {
		t.Error(err)
	}
	<-(<-conns).closed
}

// HTTP/1.0 has neither chunks nor keep-alive.
func TestHTTP10(t *testing.T) {
	big := strings.Repeat("x", 50<<10)
	p := &port{message: echo}
	addr, _ := serve(t, &Handler{}, p)
	w := dial(t, addr)
	w.send(fmt.Sprintf("POST / HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s", len(big), big))
	resp := w.expect(200, big+"\n")
	if resp.ContentLength != int64(len(big)+1) || !resp.Close {
		t.Errorf("Content-Length: %d, close %t", resp.ContentLength, resp.Close)
	}
}

// A client that closes its half after its request is answered; one that does so before the end of
// its request is not.
func TestHalfClose(t *testing.T) {
	p := &port{message: echo}
	addr, conns := serve(t, &Handler{}, p)
	w := dial(t, addr)
	w.send(post("whole"))
	w.halfClose()
	w.expect(200, "whole\n")
	<-(<-conns).closed
	w = dial(t, addr)
	w.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
	w.halfClose()
	io.Copy(io.Discard, w.r)
	c := <-conns
	<-c.closed
	if got := p.wait(t, 5); got[4] != "disconnect: unexpected EOF" || len(got) != 5 {
		t.Errorf("events %q", got)
	}
}

// Each connection is closed once, however it ends.
func TestClosedOnce(t *testing.T) {
	h := &Handler{}
	addr, conns := serve(t, h, &port{message: echo})
	w := dial(t, addr)
	w.send(post("x"))
	w.expect(200, "x\n")
	c := <-conns
	w.Close()
	<-c.closed
	w = dial(t, addr)
	w.send(post("x"))
	w.expect(200, "x\n")
	d := <-conns
	h.Close()
	<-d.closed
	if c.closes.Load() != 1 || d.closes.Load() != 1 {
		t.Errorf("closed %d and %d times", c.closes.Load(), d.closes.Load())
	}
}

// onlyOnce is a body whose last bytes come without its end, as in HTTP/2.
type onlyOnce struct {
	t    *testing.T
	text string
	read bool
}

func (b *onlyOnce) Read(p []byte) (int, error) {
	if b.read {
		b.t.Error("read again")
		return 0, io.ErrNoProgress
	}
	b.read = true
	return copy(p, b.text), nil
}

// A body with all bytes of its Content-Length is complete, whether or not its end has come.
func TestLengthEndsBody(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	p := &port{message: echo}
	r, err := http.NewRequest(http.MethodPost, "/", &onlyOnce{t: t, text: "text"})
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = int64(len("text"))
	(&Handler{}).exchange(newBook(t), r, newHTTPConn(newConn(ours), p, ours))
	if got, want := p.events(), []string{"connect http/1.1", "message text", "disconnect"}; !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}
