package portluck

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/portluck/portluck/handlers/httpd"
)

// await waits for c.
func await(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	select {
	case <-c:
	case <-ctx.Done():
		t.Errorf("%s: not within %v", what, patience)
	}
}

// A request is told how its client leaves while a callback runs, in the lane as by net/http.
func TestLaneEnds(t *testing.T) {
	t.Parallel()
	get := "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
	for name, tt := range map[string]struct {
		leave    func(t *testing.T, c halfConn) // while the callback runs
		callback func(t *testing.T, r *http.Request, w *Writer)
		answers  []string
	}{
		"reset": {
			leave:    func(t *testing.T, c halfConn) { reset(t, c) },
			callback: func(t *testing.T, r *http.Request, _ *Writer) { await(t, "the context", r.Context().Done()) },
		},
		"reset, a context made of it": {
			leave: func(t *testing.T, c halfConn) { reset(t, c) },
			callback: func(t *testing.T, r *http.Request, _ *Writer) {
				ctx, cancel := context.WithCancelCause(r.Context())
				defer cancel(nil)
				await(t, "the context", ctx.Done())
			},
		},
		"reset, asked by Err": {
			leave: func(t *testing.T, c halfConn) { reset(t, c) },
			callback: func(t *testing.T, r *http.Request, _ *Writer) {
				eventually(t, "the context has ended", func() bool { return r.Context().Err() != nil })
			},
		},
		"half-close": {
			leave: func(t *testing.T, c halfConn) { c.CloseWrite() },
			callback: func(t *testing.T, r *http.Request, w *Writer) {
				await(t, "the end", httpd.Ended(r))
				if r.Context().Err() != nil {
					t.Error("the context has ended")
				}
				w.Write([]byte("late"))
			},
			answers: []string{"200 OK late"},
		},
		"half-close, then reset": {
			leave: func(t *testing.T, c halfConn) {
				c.CloseWrite()
				reset(t, c)
			},
			callback: func(t *testing.T, r *http.Request, _ *Writer) { await(t, "the context", r.Context().Done()) },
		},
		"half-close, answered later": {
			leave: func(t *testing.T, c halfConn) { c.CloseWrite() },
			callback: func(_ *testing.T, r *http.Request, w *Writer) {
				w.DoneAfterWrite()
				ended := httpd.Ended(r)
				go func() { // ends with the client's half
					<-ended
					w.Write([]byte("later"))
				}()
			},
			answers: []string{"200 OK later"},
		},
		"reset, answered later": {
			leave: func(t *testing.T, c halfConn) { reset(t, c) },
			callback: func(t *testing.T, r *http.Request, w *Writer) {
				w.DoneAfterWrite()
				ctx := r.Context()
				go func() { <-ctx.Done() }() // ends with the connection
			},
		},
		"more, then half-close": {
			leave: func(t *testing.T, c halfConn) {
				send(t, c, get)
				c.CloseWrite()
			},
			callback: func(t *testing.T, r *http.Request, w *Writer) {
				ctx, cancel := context.WithTimeout(r.Context(), patience/1000)
				defer cancel()
				if <-ctx.Done(); r.Context().Err() != nil {
					t.Error("the context has ended")
				}
				w.Write([]byte("first"))
			},
			answers: []string{"200 OK first", "405 Method Not Allowed Allowed methods are POST or PUT."},
		},
		"Destroy": {
			callback: func(t *testing.T, r *http.Request, w *Writer) {
				w.Destroy()
				await(t, "the context", r.Context().Done())
			},
		},
	} {
		for lane, most := range map[string]int{"lane": 0, "net/http": -1} {
			t.Run(name+", "+lane, func(t *testing.T) {
				t.Parallel()
				asked, done := make(chan *http.Request, 1), make(chan *http.Request, 1)
				s := &Server{ParkAfter: -1, MaxInlineRequest: most, Hub: &Hub{
					OnMessage: func(_ Message, w *Writer, c *Client) {
						asked <- c.Request()
						tt.callback(t, c.Request(), w)
					},
					OnDisconnect: func(c *Client, _ error) { done <- c.Request() },
				}}
				c := dial(t, serve(t, s))
				send(t, c, postHi)
				<-asked
				if tt.leave != nil {
					tt.leave(t, c)
				}
				br := bufio.NewReader(c)
				for _, want := range tt.answers {
					if got := answerOf(t, br); got != want {
						t.Errorf("answer %q, want %q", got, want)
					}
				}
				if len(tt.answers) > 0 {
					if b, err := io.ReadAll(br); len(b) > 0 || err != nil {
						t.Errorf("then reads %q, %v, want io.EOF", b, err)
					}
				}
				select {
				case r := <-done:
					await(t, "the context after the request", r.Context().Done())
				case <-t.Context().Done():
				}
			})
		}
	}
}
