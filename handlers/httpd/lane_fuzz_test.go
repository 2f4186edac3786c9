package httpd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// memConn is a connection whose client has sent in and waits for the answers.
type memConn struct {
	net.Conn // nil: nothing else is used
	in       []byte

	mu     sync.Mutex
	out    bytes.Buffer
	closed bool
}

func (c *memConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.in) == 0 || c.closed {
		return 0, io.EOF
	}
	n := copy(p, c.in)
	c.in = c.in[n:]
	return n, nil
}

func (c *memConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	return c.out.Write(p)
}

func (c *memConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

func (c *memConn) sent() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Bytes()
}

func (c *memConn) LocalAddr() net.Addr              { return nil }
func (c *memConn) RemoteAddr() net.Addr             { return nil }
func (c *memConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memConn) SetWriteDeadline(time.Time) error { return nil }
func (c *memConn) SetDeadline(time.Time) error      { return nil }

// memLane is a memConn during the requests of its lane.
type memLane struct {
	*conn
	nc *memConn
}

func (c memLane) Write(p []byte) (int, error) { return c.nc.Write(p) }
func (c memLane) Dup() (net.Conn, error)      { return nil, net.ErrClosed }

// script is what a program does, a byte each.
type script []byte

var (
	scriptNames  = []string{"Content-Type", "X-A", "Connection", "Content-Length", "Transfer-Encoding", "Trailer", "Trailer:X-B", "Date", "Content-Encoding", "bad name", "X-B"}
	scriptValues = []string{"text/html", "close", "keep-alive", "3", "0", "chunked", "identity", "X-B", "a\r\nb: c", "", "gzip"}
	scriptStatus = []int{200, 201, 204, 304, 404, 500, 999, 100, 226, 299}
	scriptTexts  = []string{"", "a", "<html>", strings.Repeat("x", 2048), strings.Repeat("y", 2049), strings.Repeat("z", 3500), "\x00\x01", "abc"}
)

// run does the next steps, until one that ends a callback.
func (s *script) run(r handlers.Response) error {
	for len(*s) > 0 {
		b := (*s)[0]
		*s = (*s)[1:]
		arg := int(b >> 3)
		switch b & 7 {
		case 0:
			return nil
		case 1:
			r.Header().Set(scriptNames[arg%len(scriptNames)], scriptValues[int(b)%len(scriptValues)])
		case 2:
			r.WriteHeader(scriptStatus[arg%len(scriptStatus)])
		case 3:
			_, _ = r.Write([]byte(scriptTexts[arg%len(scriptTexts)]), handlers.Auto)
		case 4:
			_ = r.Send([]byte(scriptTexts[arg%3]), handlers.Auto)
		case 5:
			delete(r.Header(), scriptNames[arg%len(scriptNames)])
		case 6:
			switch arg % 8 {
			case 0:
				_ = r.Done()
			case 1:
				r.Destroy()
			case 2:
				return handlers.ErrPanic
			case 3:
				return errors.New("the program's")
			case 5: // the answer ends some time later
				r.DoneAfterWrite()
				go func() {
					afterTurns(r.(*answer))
					if r.Send([]byte("late"), handlers.Auto) != nil {
						_ = r.Done()
					}
				}()
			case 4:
				r.Header()["X-List"] = []string{"b", "a"}
			}
		case 7:
			_ = r.TrySend([]byte("t"), handlers.Auto)
		}
	}
	return nil
}

// afterTurns waits until the messages of a request were delivered, or its answer has ended.
func afterTurns(a *answer) {
	for {
		a.mu.Lock()
		over := a.wait != nil || a.done || a.conn.lane != nil && a.conn.lane.away != nil
		a.mu.Unlock()
		if over {
			return
		}
		time.Sleep(10 * time.Microsecond)
	}
}

// laneSeen is what a client and a program see of a connection.
type laneSeen struct {
	events   []string
	requests []string
	out      []byte
	lane     int // bytes that the lane has taken
}

// laneCase is one connection.
type laneCase struct {
	in     []byte
	script script
	opts   byte
}

func (c laneCase) handler() *Handler {
	h := &Handler{}
	h.delays.armed = true // no callback takes long
	if c.opts&1 != 0 {
		h.Tail = true
	}
	if c.opts&2 != 0 {
		h.Limit = 4
	}
	if c.opts&4 != 0 {
		h.Hosts = handlers.Hosts{"a.example"}
	}
	if c.opts&8 != 0 {
		h.Mux = http.NewServeMux()
		h.Mux.HandleFunc("/m/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "mux") })
	}
	h.start()
	return h
}

// serve serves the connection, with or without the lane.
func (c laneCase) serve(t *testing.T, withLane bool) (seen laneSeen) {
	h, nc := c.handler(), &memConn{in: c.in}
	s := slices.Clone(c.script)
	p := &port{connect: s.run, message: func(_ string, r handlers.Response) error { return s.run(r) }}
	p.connect = func(r handlers.Response) error {
		p.mu.Lock()
		seen.requests = append(seen.requests, requestText(p.info.Request))
		p.mu.Unlock()
		return s.run(r)
	}
	hc := newConn(nc)
	hc.info.Remote, hc.info.Local = netip.MustParseAddrPort("192.0.2.1:1234"), netip.MustParseAddrPort("127.0.0.1:80")
	if withLane {
		c.serveLane(h, hc, p, &seen)
	} else {
		h.HTTP1().Serve(hc, p)
	}
	select {
	case <-hc.closed:
	case <-time.After(time.Minute):
		t.Fatalf("not closed: %q", c.in)
	}
	seen.events, seen.out = p.events(), nc.sent()
	return seen
}

// serveLane gives the rest of the connection to net/http.
func (c laneCase) serveLane(h *Handler, hc *conn, p *port, seen *laneSeen) {
	idle, nc := h.NewIdle(), hc.Conn.(*memConn)
	defer idle.Done()
	dst, n, open := idle.Serve(nil, c.in, memLane{hc, nc}, p)
	seen.lane = n
	_, _ = nc.Write(dst)
	nc.in = nil
	first, begun := idle.Next(c.in[n:])
	switch {
	case !open || n > 0 && !begun:
		hc.Close()
	case n > 0 || idle.exchange != nil:
		idle.Resume(hc, p, first)
	default:
		nc.in = c.in
		h.HTTP1().Serve(hc, p)
	}
}

func requestText(r *http.Request) string {
	return fmt.Sprintf("%s %s %#v %q %q %d %v %v %t %q %v %v", r.Method, r.RequestURI, *r.URL, r.Host, r.Header, r.ContentLength,
		r.TransferEncoding, r.Proto, r.Close, r.RemoteAddr, r.Trailer, r.ProtoMinor)
}

// laneAnswers parses the answers to n requests, without their Date.
// With late an answer may come in one piece or more, and net/http itself is not the same twice: how
// far an answer has come that it breaks off, for its length or a header, depends on the pieces.
func laneAnswers(out []byte, late bool) (all []string) {
	r := bufio.NewReader(bytes.NewReader(out))
	for {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			if late {
				return append(all, "end")
			}
			rest, _ := io.ReadAll(r)
			return append(all, fmt.Sprintf("end: %v, %q", err, rest))
		}
		body, err := io.ReadAll(resp.Body)
		if late && err != nil {
			return append(all, "end")
		}
		if d := resp.Header["Date"]; len(d) == 1 && len(d[0]) == len(http.TimeFormat) {
			resp.Header["Date"] = []string{"now"}
		}
		if late {
			resp.TransferEncoding, resp.ContentLength = nil, 0
			resp.Header.Del("Content-Length")
			resp.Header.Del("Trailer")
			resp.Trailer = nil
			// net/http guesses a type that the program has deleted if the head and the first piece
			// of the body come together.
			if resp.Header.Get("Content-Type") == http.DetectContentType(body) {
				resp.Header.Del("Content-Type")
			}
		}
		all = append(all, fmt.Sprintf("%s %q %v %d %t %q %v %v", resp.Status, resp.Header, resp.TransferEncoding, resp.ContentLength, resp.Close, body, err, resp.Trailer))
	}
}

// FuzzLane holds that a program and a client see the same with the lane as without: the same
// requests and events, the same answers but for their Date, and the same end of the connection.
func FuzzLane(f *testing.F) {
	const probe = "POST /probe HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nok"
	for _, in := range []string{
		post("a\nb"), post("") + post("x"), "PUT /a?b=c HTTP/1.1\r\nhost: a.example:80\r\ncontent-length: 1\r\nConnection: Keep-Alive\r\nUser-Agent: x \r\n\r\n1",
		"POST / HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.1\r\nHost: x\r\nOrigin: http://evil\r\nContent-Length: 1\r\n\r\na",
		"POST / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nContent-Length: 1\r\n\r\na", "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		post("a") + "\r\n\r\n" + post("b"), post("a") + "\r\n\r\n\n" + post("b"), chunked + chunk("a") + chunk(""),
		"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na", "POST /m/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na",
		"POST /%zz HTTP/1.1\r\nHost: x\r\n\r\n", "POST //a HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.0\r\nHost: x\r\n\r\n", "PUT / HTTP/1.1\r\nHost: x\r\n\r\n\r\n" + post("b"),
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 01\r\n\r\na", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
		"POST /#a HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.1\r\nHost: x\r\nCookie: a\r\n b\r\n\r\n", "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"POST /a;b?c=%41&d HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "POST / HTTP/1.1\r\nHost: x\r\nAccept :a\r\n\r\n", post(strings.Repeat("l\n", 2100)),
	} {
		for _, steps := range []string{"", "\x04", "\x0c\x1b", "\x01\x09\x11\x19\x21\x29\x31", "\x12", "\x1a\x03\x0b", "\x23", "\x06", "\x0e", "\x16", "\x1e", "\x0b\x0e", "\x2b\x00\x2b", "\x05\x0b", "\x29\x31\x0b", "\x2e", "\x0b\x2e", "\x12\x2e\x00\x2e"} {
			f.Add([]byte(in), []byte(steps), byte(0))
			f.Add([]byte(in), []byte(steps), byte(15))
		}
	}
	f.Fuzz(func(t *testing.T, in, steps []byte, opts byte) {
		steps = steps[:min(len(steps), 16)] // less than flushAt, from which on any pieces are sent
		c := laneCase{append(bytes.Clone(in), probe...), steps, opts}
		want, got := c.serve(t, false), c.serve(t, true)
		if !slices.Equal(got.events, want.events) {
			t.Errorf("events %q, want %q", got.events, want.events)
		}
		if !slices.Equal(got.requests, want.requests) {
			t.Errorf("requests %q, want %q", got.requests, want.requests)
		}
		late := bytes.ContainsFunc(steps, func(r rune) bool { return r == 6|5<<3 || r == 6|13<<3 || r >= 0x80 })
		if a, b := laneAnswers(got.out, late), laneAnswers(want.out, late); !reflect.DeepEqual(a, b) {
			t.Errorf("answers (%d bytes by the lane)\n%q, want\n%q", got.lane, a, b)
		}
		if t.Failed() {
			t.Logf("in %q steps %x opts %d", c.in, steps, opts)
		}
	})
}
