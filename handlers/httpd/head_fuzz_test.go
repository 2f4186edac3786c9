package httpd

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// cutConn is a connection whose client has sent in, and ended. Each Read returns one byte and as
// many more as the next element of cuts.
type cutConn struct {
	net.Conn // nil, so that other calls panic
	in, cuts []byte
	reads    int
	out      bytes.Buffer
	closed   bool
}

func (c *cutConn) Read(p []byte) (int, error) {
	if len(c.in) == 0 || c.closed {
		return 0, io.EOF
	}
	n := 1
	if len(c.cuts) > 0 {
		n += int(c.cuts[c.reads%len(c.cuts)])
	}
	c.reads++
	n = copy(p[:min(n, len(p))], c.in)
	c.in = c.in[n:]
	return n, nil
}

func (c *cutConn) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *cutConn) Close() error                     { c.closed = true; return nil }
func (c *cutConn) RemoteAddr() net.Addr             { return nil }
func (c *cutConn) SetReadDeadline(time.Time) error  { return nil }
func (c *cutConn) SetWriteDeadline(time.Time) error { return nil }

// leading matches the empty lines before the first head.
var leading = regexp.MustCompile(`^(\r?\n)+`)

// FuzzReadHead checks three things, however the input is split. net/http gets the client's bytes,
// without the empty lines before them. All of them count for the budget and are given back; if it
// does not suffice the client gets 503. A preface of HTTP/2 passes only where it may.
func FuzzReadHead(f *testing.F) {
	long := bytes.Repeat([]byte("a:\r\n"), 3000)
	for _, in := range [][]byte{
		[]byte("\r\n\nGET / HTTP/1.1\r\n\r\n"), []byte("\r\r\nGET / HTTP/1.1\r\n\r\n"), []byte("\r"), []byte("\n\r \n"), nil,
		[]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrest"), []byte("\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrest"), append([]byte("GET / HTTP/1.1\r\n"), long...),
	} {
		f.Add(in, []byte{0}, uint16(0), uint32(0), false)
		f.Add(in, []byte{0, 1, 200}, uint16(4094), uint32(100_000), true)
	}
	f.Fuzz(func(t *testing.T, in, cuts []byte, room uint16, memory uint32, h2c bool) {
		nc := &cutConn{in: in, cuts: cuts}
		p := &port{}
		l := newHTTPConn(newConn(nc), p, nc)
		budget := &handlers.Budget{Max: int64(memory) + 1}
		l.head.budget, l.head.h2c = budget, h2c
		w := newWatch(nc, l, &delays{})
		l.head.clock.beginsFirst(time.Hour)
		_ = w.SetReadDeadline(time.Time{})
		var got []byte
		buf := make([]byte, min(int(room)+2, netHTTPBuffer))
		for {
			n, err := w.Read(buf)
			got = append(got, buf[:n]...)
			if err != nil {
				break
			}
			if held := budget.Held(); held > budget.Max || len(got) > freeHead && !l.head.h2.Load() && held < 2*int64(len(got)) {
				t.Fatalf("%d held of %d for %d bytes", held, budget.Max, len(got))
			}
		}
		want := in[len(leading.Find(in)):]
		const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
		switch isH2 := bytes.HasPrefix(want, []byte(preface)); {
		case isH2 && (!h2c || len(want) < len(in)):
			if len(got) >= len(preface) || nc.out.Len() > 0 {
				t.Errorf("of %q came %q, and the answer is %q", in, got, nc.out.Bytes())
			}
		case nc.out.Len() > 0:
			checkRefused(t, nc, p)
			if read := len(want) - len(nc.in); int64(2*read+lineCost*bytes.Count(want[:read], []byte("\n"))) <= budget.Max || read <= freeHead {
				t.Errorf("refused after %d bytes, with %d of memory", read, budget.Max)
			}
		case !bytes.Equal(got, want), l.head.h2.Load() != isH2, len(p.events()) > 0:
			t.Errorf("of %q came %q, want %q; HTTP/2 %t; events %q", in, got, want, l.head.h2.Load(), p.events())
		}
		if read := l.head.ends(); budget.Held() != 0 || read > 0 && read != len(want) {
			t.Errorf("%d bytes were read, want %d; %d are held", read, len(want), budget.Held())
		}
		if !bytes.HasPrefix(want, got) {
			t.Errorf("of %q came %q, want %q", in, got, want)
		}
	})
}

// checkRefused checks that a client got 503, and that the error was reported.
func checkRefused(t *testing.T, nc *cutConn, p *port) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(&nc.out), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 503 || !resp.Close || !nc.closed {
		t.Errorf("status %d, close %t, closed %t, want 503", resp.StatusCode, resp.Close, nc.closed)
	}
	if got := p.events(); !slices.Equal(got, []string{"fail " + handlers.ErrOverload.Error()}) {
		t.Errorf("events %q", got)
	}
}
