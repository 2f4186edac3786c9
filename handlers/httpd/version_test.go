package httpd

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/portluck/portluck/handlers"
)

// version is a version of HTTP, over which a client of net/http talks to the handler.
type version struct {
	name     string
	protocol string // Info.Protocol
	secure   bool
	set      func(p *http.Protocols)
}

var versions = []version{
	{"http/1.1", handlers.ProtocolHTTP1, false, func(p *http.Protocols) { p.SetHTTP1(true) }},
	{"https", handlers.ProtocolHTTP1, true, func(p *http.Protocols) { p.SetHTTP1(true) }},
	{"h2", handlers.ProtocolHTTP2, true, func(p *http.Protocols) { p.SetHTTP2(true) }},
	{"h2c", handlers.ProtocolHTTP2, false, func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }},
}

// each runs test over each version, with a client and the server's url.
func each(t *testing.T, h func() *Handler, p func() *port, test func(t *testing.T, s session)) {
	for _, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			s := session{version: v, port: p(), handler: h()}
			var addr string
			if v.secure {
				addr, s.conns = serveTLS(t, s.handler, s.port)
				s.url = "https://" + addr
			} else {
				addr, s.conns = serve(t, s.handler, s.port)
				s.url = "http://" + addr
			}
			var protocols http.Protocols
			v.set(&protocols)
			transport := &http.Transport{Protocols: &protocols, MaxConnsPerHost: 1, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
			t.Cleanup(transport.CloseIdleConnections)
			s.client = &http.Client{Transport: transport}
			test(t, s)
		})
	}
}

type session struct {
	version
	port    *port
	handler *Handler
	conns   chan *conn
	client  *http.Client
	url     string
}

func (s session) post(t *testing.T, body io.Reader) *http.Response {
	t.Helper()
	resp, err := s.client.Post(s.url, "text/plain", body)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func zero() *Handler     { return &Handler{} }
func echoing() *port     { return &port{message: echo} }
func explicit() *Handler { return &Handler{ExplicitDone: true} }

// net/http gets a *tls.Conn itself: TRAPS part 1, row 32, and part 5, row 4.
func TestTraps1Row32Versions(t *testing.T) {
	t.Parallel()
	each(t, zero, echoing, func(t *testing.T, s session) {
		for range 2 {
			resp := s.post(t, strings.NewReader("a\nb"))
			body, err := io.ReadAll(resp.Body)
			if string(body) != "a\nb\n" || err != nil || resp.StatusCode != 200 {
				t.Fatalf("answer %d %q, %v", resp.StatusCode, body, err)
			}
		}
		want := []string{"connect " + s.protocol, "message a", "message b", "disconnect"}
		if got := s.port.wait(t, 8); !slices.Equal(got, append(want, want...)) {
			t.Errorf("events %q", got)
		}
		info := s.port.info
		if info.Request == nil || (info.TLS != nil) != s.secure || (info.Request.TLS != nil) != s.secure || !info.Remote.IsValid() {
			t.Errorf("info %+v", info)
		}
		if len(s.conns) != 1 {
			t.Errorf("%d connections for two requests", len(s.conns))
		}
		if err := s.handler.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown() = %v", err)
		}
		c := <-s.conns
		<-c.closed
		if n := c.closes.Load(); n != 1 {
			t.Errorf("closed %d times", n)
		}
	})
}

// Lines are answered as they come, in both directions at once.
func TestFullDuplex(t *testing.T) {
	each(t, zero, echoing, func(t *testing.T, s session) {
		r, w := io.Pipe()
		go io.WriteString(w, "one\n") // ends when it is read
		resp := s.post(t, r)
		body := bufio.NewReader(resp.Body)
		for i := range 20 {
			if got, err := body.ReadString('\n'); got == "" || err != nil {
				t.Fatalf("read %q, %v", got, err)
			}
			fmt.Fprintf(w, "line %d\n", i)
		}
		w.Close()
		if rest, err := io.ReadAll(body); string(rest) != "line 19\n" || err != nil {
			t.Errorf("read %q, %v", rest, err)
		}
		if got := s.port.wait(t, 23); got[22] != "disconnect" {
			t.Errorf("events %q", got)
		}
	})
}

// An answer ends when the program ends it, whatever the client still sends.
func TestEarlyDoneOfEachVersion(t *testing.T) {
	early := func() *port {
		return &port{message: func(_ string, s handlers.Response) error {
			s.Write([]byte("enough"), handlers.Auto)
			return s.Done()
		}}
	}
	each(t, zero, early, func(t *testing.T, s session) {
		r, w := io.Pipe()
		defer w.Close()
		go io.WriteString(w, "one\n") // ends when it is read
		resp := s.post(t, r)
		if body, err := io.ReadAll(resp.Body); string(body) != "enough" || err != nil {
			t.Errorf("read %q, %v", body, err)
		}
		if got := s.port.wait(t, 3); got[2] != "disconnect" {
			t.Errorf("events %q", got)
		}
	})
}

func TestTooLongOfEachVersion(t *testing.T) {
	each(t, func() *Handler { return &Handler{Limit: 10} }, echoing, func(t *testing.T, s session) {
		resp := s.post(t, strings.NewReader(strings.Repeat("x", 10_000)))
		if body, err := io.ReadAll(resp.Body); resp.StatusCode != 413 || err != nil {
			t.Errorf("answer %d %q, %v", resp.StatusCode, body, err)
		}
		if got := s.port.wait(t, 2); got[1] != "disconnect: "+handlers.ErrTooLong.Error() {
			t.Errorf("events %q", got)
		}
	})
}

// What a callback writes before it calls Destroy arrives.
func TestWriteThenDestroy(t *testing.T) {
	destroying := func() *port {
		return &port{message: func(_ string, s handlers.Response) error {
			s.Write([]byte("said"), handlers.Auto)
			s.Destroy()
			if _, err := s.Write([]byte("x"), handlers.Auto); !errors.Is(err, handlers.ErrClosed) {
				t.Errorf("Write() = %v after Destroy", err)
			}
			return nil
		}}
	}
	each(t, zero, destroying, func(t *testing.T, s session) {
		resp := s.post(t, strings.NewReader("x\n"))
		if body, err := io.ReadAll(resp.Body); err == nil || string(body) != "said" {
			t.Errorf("read %q, %v, want %q and an error", body, err, "said")
		}
		if got := s.port.wait(t, 3); got[2] != "disconnect" {
			t.Errorf("events %q", got)
		}
	})
}

// Destroy reaches the client while the callback runs. Calling methods of an ended stream does no
// harm.
func TestDestroyOfEachVersion(t *testing.T) {
	each(t, explicit, echoing, func(t *testing.T, s session) {
		resp := s.post(t, strings.NewReader("x\n"))
		s.stream(t).Destroy()
		if body, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("read %q as if it were whole", body)
		}
		if got := s.port.wait(t, 3); got[2] != "disconnect" {
			t.Errorf("events %q", got)
		}
		ended(t, s.stream(t))
	})
}

// stream returns the stream of the last client.
func (s session) stream(t *testing.T) handlers.Response {
	t.Helper()
	s.port.mu.Lock()
	defer s.port.mu.Unlock()
	return s.port.stream
}

func TestEndedStreams(t *testing.T) {
	each(t, zero, echoing, func(t *testing.T, s session) {
		for range 3 {
			resp := s.post(t, strings.NewReader("x"))
			if body, err := io.ReadAll(resp.Body); string(body) != "x\n" || err != nil {
				t.Errorf("read %q, %v", body, err)
			}
			s.port.wait(t, 3)
			ended(t, s.stream(t))
		}
	})
}

// When a client leaves, its exchange ends at the next write at the latest, as over HTTP/1 it may
// have closed only its half.
func TestClientGoesOfEachVersion(t *testing.T) {
	each(t, explicit, echoing, func(t *testing.T, s session) {
		resp := s.post(t, strings.NewReader("x"))
		resp.Body.Close()
		for s.stream(t).Send([]byte("more"), handlers.Auto) == nil {
		}
		if got := s.port.wait(t, 3); !strings.HasPrefix(got[2], "disconnect: ") {
			t.Errorf("events %q", got)
		}
	})
}

// Many goroutines write while the answer ends, is destroyed, or its client leaves.
func TestStressWriters(t *testing.T) {
	t.Parallel()
	each(t, explicit, echoing, func(t *testing.T, s session) {
		var all sync.WaitGroup
		s.port.message = func(msg string, stream handlers.Response) error {
			for i := range 4 {
				all.Go(func() { // ends with the answer
					for {
						if err := stream.Send([]byte("to all"), handlers.Auto); errors.Is(err, handlers.ErrClosed) {
							return
						}
						if err := stream.TrySend([]byte("some"), handlers.Auto); errors.Is(err, handlers.ErrClosed) {
							return
						}
						if i == 0 && msg == "done" {
							stream.Done()
						} else if i == 0 && msg == "destroy" {
							stream.Destroy()
						}
					}
				})
			}
			return nil
		}
		for range 5 {
			for _, how := range []string{"done", "destroy", "leave"} {
				resp, err := s.client.Post(s.url, "text/plain", strings.NewReader(how))
				if err != nil {
					continue // it was destroyed before it had a head
				}
				if how == "leave" {
					io.CopyN(io.Discard, resp.Body, 1000)
				} else if _, err := io.Copy(io.Discard, resp.Body); how == "done" && err != nil {
					t.Errorf("%s: %v", how, err)
				}
				resp.Body.Close()
			}
		}
		if got := s.port.wait(t, 45); len(got) != 45 {
			t.Errorf("%d events", len(got))
		}
		all.Wait()
	})
}
