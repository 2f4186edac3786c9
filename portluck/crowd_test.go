package portluck

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/portluck/portluck/handlers"
)

// A crowd is a set of rooms whose members, of every kind, come and go. In each room several
// publishers number their own messages 1, 2, 3 and so on: "room publisher number". A reader gets
// every message of a publisher once and in order, from the first one that it has got.
type crowd struct {
	rooms, publishers int

	connects, disconnects, slow, published atomic.Int64 // the server's
	sessions, messages, stuck              atomic.Int64 // the clients'
	failed                                 atomic.Int64
	report                                 func(format string, args ...any)
}

func (c *crowd) errorf(format string, args ...any) {
	if c.failed.Add(1) < 20 {
		c.report(format, args...)
	}
}

// server returns the server of a crowd. A client joins the room that its first line, or its path,
// names.
func (c *crowd) server() *Server {
	h := &Hub{RoomOptions: func(name string) RoomOptions {
		if name == stuckRoom {
			return RoomOptions{Ring: 4}
		}
		return RoomOptions{Ring: 4096, RingBytes: 1 << 20}
	}}
	h.OnConnect = func(_ *Writer, cl *Client) {
		c.connects.Add(1)
		if r := cl.Request(); r != nil && cl.Protocol() == handlers.ProtocolWebSocket {
			_ = h.Room(strings.Trim(r.URL.Path, "/")).Join(cl)
		}
	}
	h.OnMessage = func(m Message, _ *Writer, cl *Client) {
		switch s := m.String(); s {
		case "leave":
			for i := range c.rooms {
				h.Room(c.room(i)).Leave(cl)
			}
		default:
			_ = h.Room(s).Join(cl)
		}
	}
	h.OnDisconnect = func(_ *Client, err error) {
		c.disconnects.Add(1)
		if errors.Is(err, handlers.ErrSlow) {
			c.slow.Add(1)
		}
	}
	return &Server{
		Hub: h, TLSConfig: withTLS(), SniffTimeout: patience, Timeout: patience,
		RoomOf: func(r *http.Request) (string, bool) { return strings.Trim(r.URL.Path, "/"), true },
	}
}

// stuckRoom is the room of the clients that read nothing. Its messages are long.
const stuckRoom = "stuck"

func (c *crowd) room(i int) string { return fmt.Sprint("room", i) }

// publish publishes in every room once in each pause, until ctx ends.
func (c *crowd) publish(ctx context.Context, h *Hub, pause time.Duration) {
	var wg sync.WaitGroup
	wg.Go(func() { // ends with ctx
		for ctx.Err() == nil {
			h.Room(stuckRoom).Publish(Message{Data: make([]byte, 64<<10)})
			nap(ctx, 10*time.Millisecond)
		}
	})
	for i := range c.rooms {
		for p := range c.publishers {
			wg.Go(func() { // ends with ctx
				pad := strings.Repeat(".", 20*p)
				for n := 1; ctx.Err() == nil; n++ {
					h.Room(c.room(i)).Publish(TextMessage(fmt.Sprint(c.room(i), " ", p, " ", n, " ", pad)))
					c.published.Add(1)
					nap(ctx, pause)
				}
			})
		}
	}
	wg.Wait()
}

// during returns a context that is canceled after d. It has no deadline, so nothing fails early
// because one is near.
func during(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := time.AfterFunc(d, cancel).Stop
	return ctx, func() { stop(); cancel() }
}

func nap(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// visit keeps n clients connected until ctx ends: when one leaves, another comes. One in 53 is
// stuck.
func (c *crowd) visit(ctx context.Context, addr string, n int, hold time.Duration) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { // ends with ctx
			nap(ctx, time.Duration(rand.Int64N(int64(hold))))
			for k := i; ctx.Err() == nil; k++ {
				room := c.room(rand.IntN(c.rooms))
				end := time.Now().Add(hold/2 + time.Duration(rand.Int64N(int64(hold))))
				if err := c.session(ctx, addr, k, room, end); err != nil && ctx.Err() == nil {
					c.errorf("%s client: %v", kinds[k%len(kinds)], err)
				}
				c.sessions.Add(1)
			}
		})
	}
	wg.Wait()
}

var kinds = []string{"raw", "ws", "tls", "wss", "sse"}

// session runs one client. It joins, reads until end, and leaves in one of several ways.
func (c *crowd) session(ctx context.Context, addr string, k int, room string, end time.Time) error {
	kind := kinds[k%len(kinds)]
	stuck := k%53 == 7
	if stuck {
		room = stuckRoom
	}
	conn, next, err := c.dial(ctx, addr, kind, room)
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if stuck {
		c.stuck.Add(1)
		nap(ctx, time.Until(end))
		return nil
	}
	if k%3 == 0 && kind == "raw" {
		_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	}
	seen := map[string]int{}
	for time.Now().Before(end) {
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		text, err := next()
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if err := c.check(text, room, seen); err != nil {
			return err
		}
	}
	return c.leave(conn, next, kind, room, seen)
}

// check checks that a message is the next one of its publisher.
func (c *crowd) check(text, room string, seen map[string]int) error {
	f := strings.SplitN(text, " ", 4)
	if len(f) != 4 || f[0] != room {
		return fmt.Errorf("%.80q in %s", text, room)
	}
	n, err := strconv.Atoi(f[2])
	if last := seen[f[1]]; err != nil || last != 0 && n != last+1 || strings.Trim(f[3], ".") != "" {
		return fmt.Errorf("%.80q after number %d", text, last)
	}
	seen[f[1]] = n
	c.messages.Add(1)
	return nil
}

// leave closes the connection: half the time at once, and otherwise after reading everything that
// is on its way.
func (c *crowd) leave(conn net.Conn, next func() (string, error), kind, room string, seen map[string]int) error {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok || kind == "sse" || kind == "wss" || rand.IntN(2) == 0 {
		return nil
	}
	if kind == "ws" {
		if err := ws.WriteFrame(conn, ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, "")))); err != nil {
			return err
		}
	} else if err := half.CloseWrite(); err != nil {
		return err
	}
	for {
		text, err := next()
		var closed wsutil.ClosedError
		switch {
		case err == io.EOF || errors.As(err, &closed):
			return nil
		case err != nil:
			return fmt.Errorf("after the farewell: %w", err)
		}
		if err := c.check(text, room, seen); err != nil {
			return err
		}
	}
}

// dial connects and joins room. next reads one message.
func (c *crowd) dial(ctx context.Context, addr, kind, room string) (conn net.Conn, next func() (string, error), err error) {
	insecure := &tls.Config{InsecureSkipVerify: true, NextProtos: nil}
	d := net.Dialer{Timeout: patience}
	switch kind {
	case "ws", "wss":
		wd := ws.Dialer{TLSConfig: insecure, Timeout: patience}
		conn, br, _, err := wd.Dial(ctx, kind+"://"+addr+"/"+room)
		if err != nil {
			return nil, nil, err
		}
		in := struct {
			io.Reader
			io.Writer
		}{conn, conn}
		if br != nil {
			in.Reader = br
		}
		return conn, func() (string, error) {
			p, _, err := wsutil.ReadServerData(in)
			return string(p), err
		}, nil
	case "tls":
		conn, err = (&tls.Dialer{NetDialer: &d, Config: insecure}).DialContext(ctx, "tcp", addr)
	default:
		conn, err = d.DialContext(ctx, "tcp", addr)
	}
	if err != nil {
		return nil, nil, err
	}
	in := bufio.NewReader(conn)
	line := func() (string, error) {
		s, err := in.ReadString('\n')
		return strings.TrimRight(s, "\r\n"), err
	}
	if kind != "sse" {
		_, err = fmt.Fprintln(conn, room)
		return conn, line, err
	}
	_, err = fmt.Fprintf(conn, "GET /%s HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n", room)
	return conn, func() (string, error) {
		for {
			s, err := line()
			if text, ok := strings.CutPrefix(s, "data: "); ok || err != nil {
				return text, err
			}
		}
	}, err
}
