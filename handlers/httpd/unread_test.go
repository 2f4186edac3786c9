package httpd

import (
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/grace"
)

// A shutdown waits for a request that is unread on an idle connection. It does not wait for unread
// bytes of a request that is being served, nor for a connection that is only idle.
func TestSettledUnread(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, tt := range []struct{ idle, unread bool }{{false, false}, {false, true}, {true, false}, {true, true}} {
		w := dial(t, ln.Addr().String())
		nc, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if tt.unread {
			w.send("GET / HTTP/1.1\r\n")
			eventually(t, "it has come", func() bool { return grace.HasUnread(nc) })
		}
		s := &conns{}
		l := newHTTPConn(newConn(nc), &port{quiet: true}, nc)
		s.add(nc, l)
		s.shown(l)
		l.idle.Store(tt.idle)
		if got := s.unread(); got != (tt.idle && tt.unread) {
			t.Errorf("idle %t, unread %t: unread() = %t", tt.idle, tt.unread, got)
		}
	}
}

// serves reports whether a connection is serving a request of HTTP/1.
func TestLinkServes(t *testing.T) {
	for name, change := range map[string]func(l *httpConn){
		"serves": nil, "fresh": func(l *httpConn) { l.fresh.Store(true) }, "idle": func(l *httpConn) { l.idle.Store(true) },
		"hijacked": func(l *httpConn) { l.hijacked.Store(true) }, "HTTP/2": func(l *httpConn) { l.head.h2.Store(true) },
	} {
		l := &httpConn{}
		if change != nil {
			change(l)
		}
		if got := l.serves(); got != (change == nil) {
			t.Errorf("%s: serves() = %t", name, got)
		}
	}
}

// lastWords is a connection whose last bytes come together with its end.
type lastWords struct {
	net.Conn
	words string
}

func (c lastWords) Read(p []byte) (int, error) { return copy(p, c.words), io.EOF }

// A byte that comes together with the end of a connection is not lost.
func TestWatchLastByte(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	nc := lastWords{ours, "x"}
	l := newHTTPConn(newConn(nc), &port{quiet: true}, nc)
	w := newWatch(nc, l, &delays{})
	l.head.ends() // the request is being served
	if n, err := w.Read(make([]byte, 1)); n != 1 || err != io.EOF {
		t.Errorf("Read() = %d, %v, want 1, EOF", n, err)
	}
}

// A head counts from the first byte beyond the free ones.
func TestHeadMeterBegins(t *testing.T) {
	m := headMeter{budget: &handlers.Budget{}}
	m.begins()
	for _, free := range []bool{true, false} {
		n := 1
		if free {
			n = freeHead
		}
		if !m.more(make([]byte, n)) || (m.budget.Held() == 0) != free {
			t.Errorf("%d bytes are held of %d", m.budget.Held(), m.read)
		}
	}
	if n := m.ends(); n != freeHead+1 || m.budget.Held() != 0 {
		t.Errorf("ends() = %d, %d bytes are held", n, m.budget.Held())
	}
}

// Bytes that are read after the head do not count as a head.
func TestBodyIsNoHead(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	nc := lastWords{ours, strings.Repeat("x", 2*freeHead)}
	l := newHTTPConn(newConn(nc), &port{quiet: true}, nc)
	w := newWatch(nc, l, &delays{})
	budget := &handlers.Budget{}
	l.head.budget = budget
	l.head.clock.beginsFirst(time.Hour)
	l.head.ends()
	if n, _ := w.Read(make([]byte, 4*freeHead)); n != 2*freeHead || budget.Held() != 0 {
		t.Errorf("%d bytes are read, %d are held", n, budget.Held())
	}
}

// A clock whose bound is zero or negative has no bound.
func TestHeadClockWithoutBound(t *testing.T) {
	for _, timeout := range []time.Duration{0, -1} {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer ours.Close()
			l := newHTTPConn(newConn(ours), &port{quiet: true}, ours)
			l.head.budget = &handlers.Budget{}
			w := newWatch(ours, l, &delays{})
			l.head.clock.beginsFirst(timeout)
			go func() { // ends when it is read
				defer theirs.Close()
				for _, piece := range []string{"G", "E", "T /"} {
					time.Sleep(24 * time.Hour)
					_, _ = io.WriteString(theirs, piece)
				}
			}()
			if got, err := io.ReadAll(w); string(got) != "GET /" || err != nil {
				t.Errorf("bound %v: read %q, %v", timeout, got, err)
			}
			if l.head.clock.over() {
				t.Errorf("bound %v: the head is over", timeout)
			}
			if _ = w.SetReadDeadline(time.Time{}); !l.head.clock.over() { // for the rest of the request
				t.Errorf("bound %v: the head is not over", timeout)
			}
		})
	}
}
