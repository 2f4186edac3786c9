package callosum

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// eachKind runs f for both ways to notice the end of a peer.
func eachKind(t *testing.T, name string, f func(t *testing.T, wrap func(net.Listener) net.Listener)) {
	t.Helper()
	for kind, wrap := range kinds {
		t.Run(name+"/"+kind, func(t *testing.T) { f(t, wrap) })
	}
}

// The slot line is alone in its segment, as what the application writes at once is held back.
func TestLineIsAlone(t *testing.T) {
	t.Parallel()
	for hold := time.Second; !lineIsAlone(t, hold); hold *= 2 {
	}
}

// lineIsAlone returns false if the machine was too busy to read the line before the hold ended.
func lineIsAlone(t *testing.T, hold time.Duration) bool {
	t.Helper()
	h := &Handler{Hold: hold, OnConnection: func(_ context.Context, c *Conn) { io.WriteString(c, "application") }}
	addr, begin := serveTCP(t, h), time.Now()
	c := connect(t, addr)
	first := make([]byte, 100)
	n, err := c.Read(first)
	if time.Since(begin) >= hold {
		return false
	}
	if err != nil || string(first[:n]) != "0\r\n" {
		t.Errorf("the first chunk is %q, %v", first[:n], err)
	}
	expectEnd(t, c, "application")
	return true
}

// Bytes that a client sends before it has its slot belong to the application.
func TestEarlyBytes(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"none", "", ""},
		{"bytes", "hello", "hello"},
		{"the preface", Preface, ""},
		{"the preface and bytes", Preface + "hello", "hello"},
		{"the preface twice", Preface + Preface, Preface},
		{"half a preface", Preface[:5], Preface[:5]},
		{"nearly a preface", Preface[:5] + "x", Preface[:5] + "x"},
		{"the preface later", "x" + Preface, "x" + Preface},
	} {
		eachKind(t, test.name, func(t *testing.T, wrap func(net.Listener) net.Listener) {
			for _, step := range []int{1, 3, 100} {
				got := make(chan string, 1)
				answer := make(chan struct{})
				h := &Handler{
					OnSlotRequest: func(ctx context.Context) (int, error) {
						select {
						case <-answer:
						case <-ctx.Done():
						}
						return 7, nil
					},
					OnConnection: func(_ context.Context, c *Conn) {
						b, err := io.ReadAll(c)
						if err != nil {
							t.Errorf("ReadAll() = %v", err)
						}
						got <- string(b)
					},
				}
				c := connect(t, serveKind(t, h, wrap))
				for i := 0; i < len(test.in); i += step {
					send(t, c, test.in[i:min(i+step, len(test.in))])
				}
				close(answer)
				expect(t, c, "7\r\n")
				c.CloseWrite()
				if s := <-got; s != test.want {
					t.Errorf("by %d bytes: read %q, want %q", step, s, test.want)
				}
				expectEnd(t, c, "")
			}
		})
	}
}

// The slot is freed exactly once, however the connection breaks, and even if nobody reads from it.
func TestFreedOnce(t *testing.T) {
	t.Parallel()
	stays := func(ctx context.Context, _ *Conn) { <-ctx.Done() }
	after := func(c *net.TCPConn) { io.Copy(io.Discard, c); c.Close() } // as the application does
	for _, test := range []struct {
		name  string
		serve func(ctx context.Context, c *Conn)
		leave func(c *net.TCPConn)
	}{
		{"FIN", stays, func(c *net.TCPConn) { c.CloseWrite() }},
		{"close", stays, func(c *net.TCPConn) { c.Close() }},
		{"reset", stays, func(c *net.TCPConn) { c.SetLinger(0); c.Close() }},
		{"FIN behind unread bytes", stays, func(c *net.TCPConn) { io.WriteString(c, "unread"); c.CloseWrite() }},
		{"reset behind unread bytes", stays, func(c *net.TCPConn) { io.WriteString(c, "unread"); c.SetLinger(0); c.Close() }},
		{"the application closes", func(_ context.Context, c *Conn) { c.Close(); c.Close() }, func(*net.TCPConn) {}},
		{"the application returns", func(context.Context, *Conn) {}, after},
		{"the application panics", func(context.Context, *Conn) { panic("oh") }, after},
		{"the application sends FIN", func(ctx context.Context, c *Conn) { c.CloseWrite(); <-ctx.Done() }, func(c *net.TCPConn) { c.Close() }},
		{"nobody serves", nil, func(c *net.TCPConn) { io.WriteString(c, strings.Repeat("x", 1<<18)); c.CloseWrite() }},
	} {
		eachKind(t, test.name, func(t *testing.T, wrap func(net.Listener) net.Listener) {
			e := newEvents()
			h := &Handler{
				OnConnection: test.serve, Hold: -1,
				OnSlotFree: func(slot int) { e.note("free %d", slot) },
				OnError: func(_ *handlers.Info, err error) {
					if !errors.Is(err, handlers.ErrPanic) {
						t.Errorf("OnError(%v)", err)
					}
				},
			}
			addr := serveKind(t, h, wrap)
			c := connect(t, addr)
			expect(t, c, "0\r\n")
			test.leave(c)
			e.want(t, "free 0")
			eventually(t, "the connection is gone", func() bool { return served(h) == 0 })
			e.want(t, "free 0")
			expect(t, connect(t, addr), "0\r\n")
		})
	}
}

// If a client leaves between the request and the answer, OnConnection is not called and the slot is
// freed.
func TestLeavesBeforeTheAnswer(t *testing.T) {
	for _, test := range []struct {
		name  string
		leave func(c *net.TCPConn)
	}{
		{"FIN", func(c *net.TCPConn) { c.CloseWrite() }},
		{"bytes and FIN", func(c *net.TCPConn) { io.WriteString(c, "x"); c.CloseWrite() }},
		{"reset", func(c *net.TCPConn) { c.SetLinger(0); c.Close() }},
	} {
		eachKind(t, test.name, func(t *testing.T, wrap func(net.Listener) net.Listener) {
			h, e := recorded(nil)
			asked := make(chan struct{})
			h.OnSlotRequest = func(ctx context.Context) (int, error) {
				close(asked)
				<-ctx.Done() // ends when the client leaves
				return 5, nil
			}
			c := connect(t, serveKind(t, h, wrap))
			<-asked
			test.leave(c)
			e.want(t, "free 5")
			eventually(t, "the connection is gone", func() bool { return served(h) == 0 })
			e.want(t, "free 5")
		})
	}
}
