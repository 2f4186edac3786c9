package portluck

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// leaver is a listener of the program. Once leave says so, its methods and the methods of its
// connections end their goroutine.
type leaver struct {
	net.Listener
	leave func(method string) bool
}

func (l *leaver) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err == nil && l.leave("Accept") {
		nc.Close()
		runtime.Goexit()
	}
	if err != nil {
		return nil, err
	}
	return &leaverConn{Conn: nc, leave: l.leave}, nil
}

type leaverConn struct {
	net.Conn
	leave func(method string) bool
	reads atomic.Int32
}

func (c *leaverConn) Read(p []byte) (int, error) {
	method := "first Read"
	if c.reads.Add(1) > 1 {
		method = "later Read"
	}
	if c.leave(method) {
		runtime.Goexit()
	}
	return c.Conn.Read(p)
}

func (c *leaverConn) Write(p []byte) (int, error) {
	if c.leave("Write") {
		runtime.Goexit()
	}
	return c.Conn.Write(p)
}

func (c *leaverConn) SetReadDeadline(t time.Time) error {
	if c.leave("SetReadDeadline") {
		runtime.Goexit()
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *leaverConn) Close() error {
	if c.leave("Close") {
		defer runtime.Goexit()
	}
	return c.Conn.Close()
}

// If a method of the program's net.Conn ends its goroutine, only that connection ends. If a method
// of a listener does, the listener has failed. Shutdown waits for neither.
func TestConnectionsEndTheGoroutine(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"Accept", "first Read", "later Read", "Write", "SetReadDeadline", "Close"} {
		for kind, says := range map[string]string{
			"raw": "hello\n", "http": "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nhi\n",
			"websocket": "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n\x81\x82\x00\x00\x00\x00hi",
		} {
			if method == "Close" && kind == "http" {
				continue // it is net/http that calls it there
			}
			t.Run(method+", "+kind, func(t *testing.T) {
				t.Parallel()
				var armed atomic.Bool
				armed.Store(true)
				l := &leaver{free(t), func(m string) bool { return m == method && armed.CompareAndSwap(true, false) }}
				var connects, disconnects atomic.Int32
				s := &Server{Hub: &Hub{
					OnConnect:    func(*Writer, *Client) { connects.Add(1) },
					OnMessage:    func(m Message, w *Writer, _ *Client) { _ = w.Send(m) },
					OnDisconnect: func(*Client, error) { disconnects.Add(1) },
				}}
				ended := make(chan error, 1)
				go func() { ended <- s.Serve(l) }() // ends with the server
				for range 2 {
					nc, err := net.Dial("tcp", l.Addr().String())
					if err != nil {
						break // the listener has failed
					}
					_ = nc.SetDeadline(time.Now().Add(patience))
					send(t, nc, says)
					_ = nc.(*net.TCPConn).CloseWrite()
					for err := error(nil); err == nil; {
						_, err = nc.Read(make([]byte, 1024))
						if errors.Is(err, context.DeadlineExceeded) {
							t.Error("the connection stays")
						}
					}
					nc.Close()
				}
				if armed.Load() && method != "SetReadDeadline" {
					t.Errorf("%s was not called", method)
				}
				eventually(t, "all are gone", func() bool {
					return s.Stats().Open == 0 && s.Hub.Len() == 0 && connects.Load() == disconnects.Load()
				})
				if method == "Accept" {
					if err := <-ended; !errors.Is(err, handlers.ErrPanic) {
						t.Errorf("Serve = %v", err)
					}
				}
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				if err := s.Shutdown(ctx); err != nil {
					t.Errorf("Shutdown = %v", err)
				}
				if method != "Accept" {
					if err := <-ended; !errors.Is(err, ErrServerClosed) {
						t.Errorf("Serve = %v", err)
					}
				}
			})
		}
	}
}
