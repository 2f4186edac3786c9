package httpd

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// A transport is a kind of connection on which a client can close its half.
type transport struct {
	name  string
	serve func(t testing.TB, h *Handler, p *port) (string, chan *conn)
	dial  func(t *testing.T, addr string) *wire
}

// bare hides all methods of a connection except those of net.Conn.
type bare struct{ net.Conn }

func serveBare(t testing.TB, h *Handler, p *port) (string, chan *conn) {
	return serveLayer(t, h, p, func(nc net.Conn) (net.Conn, error) { return bare{nc}, nil })
}

func dialTLS(protos ...string) func(t *testing.T, addr string) *wire {
	return func(t *testing.T, addr string) *wire {
		w := dial(t, addr)
		c := tls.Client(w.Conn, &tls.Config{InsecureSkipVerify: true, NextProtos: protos})
		w.Conn = c
		w.r.Reset(c)
		return w
	}
}

var transports = []transport{
	{"plain", serve, dial},
	{"no descriptor", serveBare, dial},
	{"TLS", serveTLS, dialTLS()},
	{"TLS, http/1.1", serveTLS, dialTLS("http/1.1")},
}

// reset breaks the connection with a reset.
func (w *wire) reset() {
	nc := w.Conn
	if c, ok := nc.(*tls.Conn); ok {
		nc = c.NetConn()
	}
	_ = nc.(*net.TCPConn).SetLinger(0)
	nc.Close()
}

// waitFor waits for c, for up to a minute.
func waitFor(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(time.Minute):
		t.Errorf("%s: not after a minute", what)
	}
}

// waiter returns a page that answers once its client has closed its half, unless the request's
// context is done by then.
func waiter(t *testing.T) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		waitFor(t, "the end", Ended(r))
		if err := r.Context().Err(); err != nil {
			t.Errorf("the context is done: %v", err)
		}
		io.WriteString(w, "late")
	})
}

// A client that closes its half while its request is served still gets the answer: RFC 9112,
// section 9.6.
func TestHalfCloseWaits(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("/mounted", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // unread bytes would hide the end
		waiter(t).ServeHTTP(w, r)
	})
	get := func(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n" }
	for _, tr := range transports {
		for _, r := range []struct{ name, request string }{
			{"page", get("/")},
			{"stream", get("/stream")},
			{"mounted", get("/mounted")},
			{"mounted, HTTP/1.0", "GET /mounted HTTP/1.0\r\n\r\n"},
			{"mounted, with a body", strings.Replace(post("body"), "/", "/mounted", 1)},
			{"a second one", get("/fast") + get("/mounted")},
			{"a message", post("message")},
			{"chunks", chunked + chunk("message") + chunk("")},
		} {
			t.Run(tr.name+", "+r.name, func(t *testing.T) {
				p := &port{}
				p.message = func(_ string, s handlers.Response) error {
					s.DoneAfterWrite()
					go waiter(t).ServeHTTP(streamWriter{s: s}, p.info.Request) // ends with the client's half
					return nil
				}
				h := &Handler{Mux: mux, Pages: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/fast" {
						waiter(t).ServeHTTP(w, r)
					}
				})}
				h.Streams = func(r *http.Request, _ *handlers.Info) http.Handler {
					if r.URL.Path == "/stream" {
						return waiter(t)
					}
					return nil
				}
				addr, conns := tr.serve(t, h, p)
				w := tr.dial(t, addr)
				w.send(r.request)
				if err := w.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
					t.Fatal(err)
				}
				if strings.Contains(r.request, "fast") {
					w.expect(200, "")
				}
				w.expect(200, "late")
				waitFor(t, "the connection's end", (<-conns).closed)
			})
		}
	}
}

// streamWriter makes a stream the http.ResponseWriter of a waiter.
type streamWriter struct {
	http.ResponseWriter
	s handlers.Response
}

func (w streamWriter) Write(p []byte) (int, error) { return w.s.Write(p, handlers.Auto) }

// A client that has closed its half and then breaks the connection is noticed: at once where the
// system reports it, otherwise when something is written to it.
func TestHalfCloseThenReset(t *testing.T) {
	t.Parallel()
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			reset, done := make(chan struct{}), make(chan struct{})
			h := &Handler{Pages: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer close(done)
				waitFor(t, "the end", Ended(r))
				close(reset)
				if tr.name != "no descriptor" && tellsBreak {
					waitFor(t, "the context's end", r.Context().Done())
					return
				}
				page := bytes.Repeat([]byte("x"), 64<<10)
				for r.Context().Err() == nil {
					w.Write(page)
				}
			})}
			addr, conns := tr.serve(t, h, &port{})
			w := tr.dial(t, addr)
			w.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
			w.Conn.(interface{ CloseWrite() error }).CloseWrite()
			waitFor(t, "the end", reset)
			w.reset()
			waitFor(t, "the handler's end", done)
			waitFor(t, "the connection's end", (<-conns).closed)
		})
	}
}

// A panic, Close, and a program that destroys the answer end a connection without waiting for a
// client that has closed its half.
func TestHalfCloseEnds(t *testing.T) {
	t.Parallel()
	for _, tr := range transports {
		for _, how := range []string{"panic", "close", "destroy", "hijack"} {
			t.Run(tr.name+", "+how, func(t *testing.T) {
				h := &Handler{}
				destroyed := make(chan struct{})
				h.Pages = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					waitFor(t, "the end", Ended(r))
					switch how {
					case "panic":
						panic(http.ErrAbortHandler)
					case "close":
						go h.Close() // ends with the connection
						waitFor(t, "the context's end", r.Context().Done())
					case "hijack":
						nc, _, err := http.NewResponseController(w).Hijack()
						if err != nil {
							t.Error(err)
							return
						}
						if n, err := nc.Read(make([]byte, 1)); n != 0 || err != io.EOF {
							t.Errorf("Read() = %d, %v", n, err)
						}
						nc.Close()
					}
				})
				p := &port{message: func(_ string, s handlers.Response) error {
					s.DoneAfterWrite()
					go func() { // ends with the client's half
						waitFor(t, "the end", Ended(s.(*answer).r))
						s.Destroy()
						close(destroyed)
					}()
					return nil
				}}
				addr, conns := tr.serve(t, h, p)
				w := tr.dial(t, addr)
				if how == "destroy" {
					w.send(post("x\n"))
				} else {
					w.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
				}
				w.Conn.(interface{ CloseWrite() error }).CloseWrite()
				if how == "destroy" {
					waitFor(t, "Destroy", destroyed)
				}
				waitFor(t, "the connection's end", (<-conns).closed)
			})
		}
	}
}

// A later request on a connection has not ended. After the earlier one, net/http stops watching the
// client by a read deadline in the past, which is not the client's end.
func TestEndedOfLaterRequest(t *testing.T) {
	t.Parallel()
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			addr, _ := tr.serve(t, &Handler{Pages: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				select {
				case <-Ended(r):
					io.WriteString(w, "ended")
				default:
				}
			})}, &port{})
			w := tr.dial(t, addr)
			for range 3 {
				w.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
				w.expect(200, "")
			}
		})
	}
}

// Ended returns nil for a request that no Handler serves. It may be called after the end.
func TestEnded(t *testing.T) {
	r, err := http.NewRequest(http.MethodGet, "/", nil)
	if err != nil || Ended(r) != nil {
		t.Errorf("Ended() = %v, %v, want nil", Ended(r), err)
	}
	l := &httpConn{}
	first := l.whenEnded()
	l.end()
	l.end()
	<-first
	<-l.whenEnded()
	l = &httpConn{}
	l.end()
	<-l.whenEnded()
}
