package portluck

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portluck/portluck/testdata/need"
)

// attackers returns how many connections of HTTP/1 and of HTTP/2 attack, which are more in the long
// form, and the MaxPartial of the server.
func attackers() (conns, h2Conns, most int) {
	if need.Long() {
		return 5000, 20, 256 << 20
	}
	return 40, 2, 1 << 20
}

// held returns how many bytes of the heap are in use.
func held() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapInuse + m.StackInuse)
}

// lastRead is how much a client may hold above MaxPartial: the server reads once more, because the
// message may end there.
const lastRead = 4 << 10

// HTTP/2 connections that each have as many requests as allowed, all with unfinished messages, hold
// at most MaxPartial together, and little memory each.
func TestAttackStreams(t *testing.T) {
	const streams = 100
	_, conns, most := attackers()
	before := held()
	s := &Server{MaxPartial: int64(most)}
	addr := serve(t, s)
	var mu sync.Mutex
	answers := map[string]int{}
	var wg, sent sync.WaitGroup
	var bodies []*io.PipeWriter
	each := bytes.Repeat([]byte("x"), min(most/100, 1<<20-1))
	for range conns {
		tr := h2Transport(false, nil)
		tr.MaxConnsPerHost = 1
		defer tr.CloseIdleConnections()
		for range streams {
			r, w := io.Pipe()
			bodies = append(bodies, w)
			wg.Go(func() { // ends when the body does, or is refused
				answer := h2Post(tr, addr, false, r)
				mu.Lock()
				answers[answer]++
				mu.Unlock()
			})
			// ends when it was sent, or refused, or the test ends
			sent.Go(func() { _, _ = w.Write(each) })
		}
	}
	refused := func() int {
		mu.Lock()
		defer mu.Unlock()
		return answers["503 too many unfinished messages, try again later\n"]
	}
	within(t, "the budget is used up", func() bool { return refused() > streams/2 })
	if got := s.Stats().Partial; got > int64(most+conns*streams*lastRead) {
		t.Errorf("%d bytes are held, of %d", got, most)
	}
	if got := held() - before; got > 3*most+conns*streams*200<<10 {
		t.Errorf("the heap has grown by %d KiB", got>>10)
	} else {
		t.Logf("%d connections of %d requests: the heap of server and clients has grown by %d KiB, %d KiB count", conns, streams, got>>10, s.Stats().Partial>>10)
	}
	for _, w := range bodies {
		go w.Close() // ends at once
	}
	wg.Wait()
	sent.Wait()
	mu.Lock()
	defer mu.Unlock()
	if len(answers) != 2 || answers["200 "] == 0 {
		t.Errorf("answers %v, want some of 200 and some of 503", answers)
	}
	within(t, "nothing is held", func() bool { return s.Stats().Partial == 0 })
}

// HTTP/1 requests whose bodies have no line end hold at most MaxPartial together.
func TestAttackPosts(t *testing.T) {
	conns, _, most := attackers()
	before := held()
	s := &Server{MaxPartial: int64(most)}
	addr := serve(t, s)
	body := strings.Repeat("x", 1<<20-1)
	if most < len(body)*10 {
		body = body[:most/10]
	}
	var wg sync.WaitGroup
	var told atomic.Int64
	for range conns {
		c := must(net.Dial("tcp", addr))
		defer c.Close()
		wg.Go(func() { // ends when it is refused, or the server closes
			_, _ = fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(body)+1, body)
			b := make([]byte, 12)
			if n, _ := io.ReadFull(c, b); string(b[:n]) == "HTTP/1.1 503" {
				told.Add(1)
			}
		})
	}
	within(t, "the budget is used up", func() bool {
		st := s.Stats()
		return st.Partial > int64(most)/2 && st.Overloads > 0 && told.Load() > 0
	})
	if got := s.Stats().Partial; got > int64(most+conns*lastRead) {
		t.Errorf("%d bytes are held of %d", got, most)
	}
	t.Logf("%d requests: the heap has grown by %d KiB, %d KiB count", conns, (held()-before)>>10, s.Stats().Partial>>10)
	s.Close()
	wg.Wait()
	within(t, "nothing is held", func() bool { return s.Stats().Partial == 0 })
}

// If first bytes are read, not peeked at, the heads of undecided connections count for MaxPartial.
func TestMaxPartialOfHeads(t *testing.T) {
	const most, n = 8 << 10, 10
	// a buffer of 2 KiB; it may become a WebSocket
	head := "GET / HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 1000)
	for name, open := range map[string]func(t *testing.T, addr string) net.Conn{
		"any listener": func(t *testing.T, addr string) net.Conn { return dial(t, addr) },
		"TLS":          func(t *testing.T, addr string) net.Conn { return dialTLS(t, addr) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &Server{MaxPartial: most, TLSConfig: withTLS(), SniffTimeout: time.Minute}
			l := must(net.Listen("tcp", "127.0.0.1:0"))
			serveOn(t, s, struct{ net.Listener }{l}) // which has no descriptor to peek at
			addr := l.Addr().String()
			conns := make([]net.Conn, n)
			for i := range conns {
				conns[i] = open(t, addr)
				send(t, conns[i], head)
				within(t, "it is held or refused", func() bool {
					st := s.Stats()
					return st.Partial>>11+int64(st.Overloads) == int64(i+1)
				})
			}
			if st := s.Stats(); st.Partial != most || st.Overloads != n-most>>11 {
				t.Errorf("%d bytes are held, %d were refused", st.Partial, st.Overloads)
			}
			answers := map[string]int{}
			for _, c := range conns {
				// some of them have been refused by now
				_, _ = io.WriteString(c, "\r\nConnection: close\r\n\r\n")
				b := make([]byte, 12)
				n, _ := io.ReadFull(c, b)
				answers[string(b[:n])]++
				c.Close()
			}
			if answers["HTTP/1.1 405"] != most>>11 || answers["HTTP/1.1 503"] != n-most>>11 {
				t.Errorf("answers %v", answers)
			}
			within(t, "nothing is held", func() bool { return s.Stats().Partial == 0 })
		})
	}
}

// A compressed message counts while it is inflated and delivered.
func TestMaxPartialOfInflated(t *testing.T) {
	const most = 600 << 10
	for _, goroutines := range []bool{false, true} {
		in, out := make(chan int, 1), make(chan bool)
		s := &Server{MaxPartial: most, CompressMin: 100, Goroutines: goroutines, Hub: &Hub{
			OnMessage: func(m Message, _ *Writer, _ *Client) {
				in <- len(m.Data)
				<-out
			},
		}}
		addr := serve(t, s)
		var packed bytes.Buffer
		w := must(flate.NewWriter(&packed, 9))
		_, _ = w.Write(make([]byte, 500<<10))
		_ = w.Flush()
		data := packed.Bytes()[:packed.Len()-4]
		open := func() *holder {
			c := dial(t, addr)
			head := strings.Replace(handshakeOf(t), "\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n", 1)
			send(t, c, head+frameHead(0x80|0x40|2, len(data))+string(data))
			return hold(c, "", "")
		}
		first := open()
		if got := <-in; got != 500<<10 {
			t.Errorf("a message of %d bytes", got)
		}
		if got := s.Stats().Partial; got < 400<<10 || got > most {
			t.Errorf("%d bytes are held while a message of 500 KiB is delivered", got)
		}
		if got := open().said(); !strings.Contains(got, "\x03\xf5too many") {
			t.Errorf("the second is told %q", got)
		}
		out <- true
		within(t, "nothing is held", func() bool { return s.Stats().Partial == 0 })
		first.nc.Close()
	}
}

// within waits until ok returns true, for at most a minute.
func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for late := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(late) {
			t.Fatalf("not within a minute: %s", what)
		}
		pauseFor(time.Millisecond)
	}
}
