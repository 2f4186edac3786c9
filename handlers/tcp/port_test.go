package tcp_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers/tcp"
	"github.com/portluck/portluck/matchers"
	"github.com/portluck/portluck/portluck"
)

// soon bounds how long a test waits for an event that should come at once.
const soon = time.Minute

// eachPort runs f on each driver, with a port that has v as the route for streams that begin with
// "ECHO".
func eachPort(t *testing.T, v func() *tcp.Server, f func(t *testing.T, v *tcp.Server, srv *portluck.Server, addr string)) {
	for _, goroutines := range []bool{false, true} {
		t.Run(fmt.Sprintf("goroutines %t", goroutines), func(t *testing.T) {
			v := v()
			cert, err := tls.LoadX509KeyPair("testdata/agent.pem", "testdata/agent.pem")
			if err != nil {
				t.Fatal(err)
			}
			srv := &portluck.Server{
				Goroutines: goroutines, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}},
				Hub: &portluck.Hub{OnMessage: func(m portluck.Message, w *portluck.Writer, _ *portluck.Client) { w.Send(m) }},
			}
			srv.Handle("echo", matchers.Prefix("ECHO"), v)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error)
			go func() { done <- srv.Serve(l) }()
			f(t, v, srv, l.Addr().String())
			srv.Close()
			<-done
			for late := time.Now().Add(soon); v.Connections() > 0; time.Sleep(time.Millisecond) {
				if time.Now().After(late) {
					t.Fatalf("%d streams are left", v.Connections())
				}
			}
		})
	}
}

func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(soon)); err != nil {
		t.Fatal(err)
	}
	return nc.(*net.TCPConn)
}

func says(t *testing.T, c io.ReadWriter, what, want string) {
	t.Helper()
	if _, err := io.WriteString(c, what); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("answer %q, %v, want %q", got, err, want)
	}
}

func echoServer() *tcp.Server {
	return &tcp.Server{MaxConnections: 2, Events: &tcp.Events{OnData: func(s *tcp.Stream, p []byte) { s.Write(p) }}}
}

// Streams share the port with the hub's clients, in the clear and inside TLS.
func TestServerInPort(t *testing.T) {
	eachPort(t, echoServer, func(t *testing.T, v *tcp.Server, _ *portluck.Server, addr string) {
		nc := dial(t, addr)
		says(t, nc, "ECHO one\n", "ECHO one\n")
		tc := tls.Client(dial(t, addr), &tls.Config{InsecureSkipVerify: true})
		says(t, tc, "ECHO two\n", "ECHO two\n")
		says(t, dial(t, addr), "a line\n", "a line\n")
		res, err := http.Post("http://"+addr, "", strings.NewReader("posted\n"))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if body, err := io.ReadAll(res.Body); string(body) != "posted\n" || err != nil {
			t.Errorf("body %q, %v", body, err)
		}
		http.DefaultClient.CloseIdleConnections()
		if got := v.Connections(); got != 2 {
			t.Errorf("Connections() = %d, want 2", got)
		}
		more := dial(t, addr)
		io.WriteString(more, "ECHO three\n")
		if got, _ := io.ReadAll(more); len(got) > 0 {
			t.Errorf("a third one was answered %q", got)
		}
		says(t, nc, "again", "again")
	})
}

// The port's shutdown ends its streams gracefully.
func TestServerInPortShutdown(t *testing.T) {
	var closed atomic.Int64
	v := func() *tcp.Server {
		v := echoServer()
		v.Events.OnClose = func(_ *tcp.Stream, hadError bool) {
			if hadError {
				t.Error("closed by an error")
			}
			closed.Add(1)
		}
		return v
	}
	eachPort(t, v, func(t *testing.T, _ *tcp.Server, srv *portluck.Server, addr string) {
		nc := dial(t, addr)
		says(t, nc, "ECHO", "ECHO")
		go func() { // ends when the stream does
			io.Copy(io.Discard, nc)
			nc.Close()
		}()
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		defer cancel()
		closed.Store(0)
		if err := srv.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown() = %v", err)
		}
		if got := closed.Load(); got != 1 {
			t.Errorf("%d streams were closed by Shutdown, want 1", got)
		}
	})
}

// A stream of a port can use SetSecure like any other. Bytes that the port has read are not lost.
func TestServerInPortSecure(t *testing.T) {
	v := func() *tcp.Server {
		cert, err := tls.LoadX509KeyPair("testdata/agent.pem", "testdata/agent.pem")
		if err != nil {
			t.Fatal(err)
		}
		v := echoServer()
		v.Events.OnConnect = func(s *tcp.Stream) {
			if !s.RemoteAddress().Addr().IsLoopback() {
				t.Errorf("RemoteAddress() = %v", s.RemoteAddress())
			}
		}
		v.Events.OnData = func(s *tcp.Stream, p []byte) {
			s.Write(p)
			if string(p) == "ECHO secure\n" {
				if err := s.SetSecure(&tls.Config{Certificates: []tls.Certificate{cert}}); err != nil {
					t.Errorf("SetSecure() = %v", err)
				}
			}
		}
		return v
	}
	eachPort(t, v, func(t *testing.T, v *tcp.Server, _ *portluck.Server, addr string) {
		nc := dial(t, addr)
		says(t, nc, "ECHO secure\n", "ECHO secure\n")
		tc := tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
		says(t, tc, "hello", "hello")
		if got := v.Connections(); got != 1 {
			t.Errorf("Connections() = %d, want 1", got)
		}
		tc.Close()
	})
}

// A stream of a port that starts paused gets, after Resume, the bytes that came before the port had
// decided.
func TestServerInPortPaused(t *testing.T) {
	streams := make(chan *tcp.Stream, 2)
	v := func() *tcp.Server {
		v := echoServer()
		v.OnConnection = func(s *tcp.Stream) {
			s.Pause()
			streams <- s
		}
		return v
	}
	eachPort(t, v, func(t *testing.T, _ *tcp.Server, _ *portluck.Server, addr string) {
		for _, c := range []net.Conn{dial(t, addr), tls.Client(dial(t, addr), &tls.Config{InsecureSkipVerify: true})} {
			if _, err := io.WriteString(c, "ECHO "); err != nil {
				t.Fatal(err)
			}
			s := <-streams
			time.AfterFunc(20*time.Millisecond, s.Resume)
			says(t, c, "rest", "ECHO rest")
		}
	})
}
