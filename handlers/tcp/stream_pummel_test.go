package tcp

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// answering answers one HTTP request.
func answering(t *testing.T) *Events {
	return &Events{OnData: func(s *Stream, p []byte) {
		if !strings.HasPrefix(string(p), "GET / HTTP/1.1\r\n") {
			t.Errorf("data %q", p)
		}
		s.End([]byte("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello world\n"))
	}}
}

func getHello(t *testing.T, transport http.RoundTripper, url string) {
	t.Helper()
	client := &http.Client{Transport: transport, Timeout: soon}
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); string(body) != "hello world\n" || err != nil {
		t.Errorf("body %q, %v", body, err)
	}
}

// random returns n bytes that do not repeat.
func random(n int) string {
	b := make([]byte, 0, n+sha256.Size)
	for sum := sha256.Sum256(nil); len(b) < n; sum = sha256.Sum256(sum[:]) {
		b = append(b, sum[:]...)
	}
	return string(b[:n])
}

func TestNodeN11Pipe(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		want := random(5 << 20)
		d := newDiary()
		d.do.OnData = func(s *Stream, _ []byte) { // a slow reader
			s.Pause()
			time.AfterFunc(time.Microsecond, s.Resume)
		}
		addr := listen(t, &Server{Events: d.events()})
		web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			s := new(Stream)
			if err := s.Dial(r.Context(), "tcp", addr); err != nil {
				t.Error(err)
				return
			}
			if n, err := s.ReadFrom(r.Body); n != int64(len(want)) || err != nil {
				t.Errorf("ReadFrom() = %d, %v", n, err)
			}
			s.End(nil)
		}))
		defer web.Close()
		res, err := http.Post(web.URL, "", strings.NewReader(want))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		d.closed(t)
		if d.received() != want {
			t.Errorf("received %d bytes that are not those sent", len(d.received()))
		}
	})
}

func TestNodeN12PumpFile(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		want := random(1 << 20)
		if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		// A callback keeps only its own stream waiting.
		v := &Server{OnConnection: func(s *Stream) {
			f, err := os.Open(path)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			if n, err := s.ReadFrom(f); n != int64(len(want)) || err != nil {
				t.Errorf("ReadFrom() = %d, %v", n, err)
			}
			s.End(nil)
		}}
		d := newDiary()
		dial(t, d, "tcp", listen(t, v))
		d.closed(t)
		if d.received() != want {
			t.Errorf("received %d bytes that are not those of the file", len(d.received()))
		}
	})
}

func TestNodeN13PumpNoFile(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		v := &Server{OnConnection: func(s *Stream) {
			f, _ := os.Open(filepath.Join(t.TempDir(), "none"))
			if _, err := s.ReadFrom(f); !errors.Is(err, os.ErrInvalid) {
				t.Errorf("ReadFrom() = %v", err)
			}
			s.End(nil)
		}}
		d := newDiary()
		dial(t, d, "tcp", listen(t, v))
		d.wants(t, "connect", "end", "close false")
	})
}

// ReadFrom ends with the stream.
func TestStreamReadFromEnds(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		d := newDiary()
		v := &Server{Events: d.events(), OnConnection: (*Stream).Pause}
		s := dial(t, newDiary(), "tcp", listen(t, v))
		d.has(t, "connect")
		time.AfterFunc(100*time.Millisecond, s.Destroy)
		if _, err := s.ReadFrom(endless{}); err == nil {
			t.Error("ReadFrom() = nil on a stream that was destroyed")
		}
	})
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestNodeN15ManyClients(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		body := strings.Repeat("C", 40<<10)
		server := newDiary()
		v := &Server{OnConnection: func(s *Stream) { s.End([]byte(body)) }, Events: &Events{OnClose: func(_ *Stream, hadError bool) {
			server.note("close %t", hadError)
		}}}
		addr := listen(t, v)
		total := newDiary()
		for range 100 {
			left, n := 5, 0
			s := &Stream{}
			s.Events = &Events{
				OnData: func(_ *Stream, p []byte) { n += len(p) },
				OnClose: func(s *Stream, hadError bool) {
					if hadError || n != len(body) {
						t.Errorf("%d bytes, close %t", n, hadError)
					}
					total.note("close")
					if left, n = left-1, 0; left > 0 {
						if err := s.Dial(t.Context(), "tcp", addr); err != nil {
							t.Error(err)
						}
					}
				},
			}
			if err := s.Dial(t.Context(), "tcp", addr); err != nil {
				t.Fatal(err)
			}
		}
		for _, d := range []*diary{total, server} {
			d.await(t, "500 connections", func() bool { return len(d.all()) == 500 })
		}
		if slices.Contains(server.all(), "close true") {
			t.Error("a stream of the server was closed by an error")
		}
		within(t, "all are gone", func() bool { return v.Connections() == 0 })
	})
}

// Node's test sends 200 bytes with pauses of half a second; here they are shorter.
func TestNodeN16Pause(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		const n = 60
		nothing := make(chan struct{})
		v := &Server{OnConnection: func(s *Stream) {
			for range n {
				time.AfterFunc(0, func() {})
				write(t, s, "x")
				time.Sleep(time.Millisecond)
			}
			s.End(nil)
			close(nothing)
		}}
		d := newDiary()
		pauses, paused := 0, false
		d.do.OnData = func(s *Stream, _ []byte) {
			if paused {
				t.Error("data while it is paused")
			}
			if seen := len(d.received()); pauses == 0 || pauses == 1 && seen > n/2 {
				pauses++
				paused = true
				s.Pause()
				time.AfterFunc(50*time.Millisecond, func() {
					if pauses > 2 || len(d.received()) != seen {
						t.Errorf("%d bytes came while it was paused", len(d.received())-seen)
					}
					paused = false
					s.Resume()
				})
			}
		}
		dial(t, d, "tcp", listen(t, v))
		<-nothing
		d.closed(t)
		d.got(t, strings.Repeat("x", n))
	})
}

func TestNodeN17PingPongDelay(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		const n = 20
		server, client := newDiary(), newDiary()
		v := &Server{Events: server.events(), AllowHalfOpen: true}
		server.do.OnConnect = func(s *Stream) { s.SetEncoding(UTF8) }
		server.do.OnData = func(s *Stream, _ []byte) {
			time.AfterFunc(2*time.Millisecond, func() {
				wantState(t, s, Open)
				write(t, s, "PONG")
			})
		}
		server.do.OnEnd = func(s *Stream) {
			wantState(t, s, WriteOnly)
			s.End(nil)
		}
		server.do.OnClose = func(s *Stream, _ bool) { wantState(t, s, Closed) }
		addr := listen(t, v)
		client.do.OnConnect = func(s *Stream) { write(t, s, "PING") }
		client.do.OnData = func(s *Stream, _ []byte) {
			wantState(t, s, Open)
			time.AfterFunc(2*time.Millisecond, func() {
				if len(client.received()) < 4*n {
					write(t, s, "PING")
					return
				}
				s.End(nil)
			})
		}
		dial(t, client, "tcp", addr)
		client.closed(t)
		server.closed(t)
		client.got(t, strings.Repeat("PONG", n))
		for _, d := range []*diary{server, client} {
			if slices.Contains(d.all(), "timeout") {
				t.Errorf("events %q", d.all())
			}
		}
	})
}

func TestNodeN19Throttle(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		body := random(8 << 20)
		server, client := newDiary(), newDiary()
		server.do.OnConnect = func(s *Stream) {
			if write(t, s, body) {
				t.Error("Write says that the kernel has taken all of it")
			}
		}
		server.do.OnDrain = func(s *Stream) { s.End(nil) }
		v := &Server{Events: server.events()}
		n, pauses, paused := 0, 0, false
		client.do.OnData = func(s *Stream, p []byte) {
			if paused {
				t.Error("data while it is paused")
			}
			n += len(p)
			if pauses < 4 && n > pauses*len(body)/5 {
				pauses++
				paused = true
				s.Pause()
				time.AfterFunc(20*time.Millisecond, func() {
					paused = false
					s.Resume()
				})
			}
		}
		s := &Stream{Events: client.events(), DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			nc, err := new(net.Dialer).DialContext(ctx, network, address)
			if err == nil {
				err = nc.(*net.TCPConn).SetReadBuffer(64 << 10) // so that the kernel buffers little
			}
			return nc, err
		}}
		if err := s.Dial(t.Context(), "tcp", listen(t, v)); err != nil {
			t.Fatal(err)
		}
		client.closed(t)
		if pauses <= 2 {
			t.Errorf("%d pauses, want more", pauses)
		}
		if client.received() != body {
			t.Errorf("received %d bytes that are not those sent", n)
		}
		server.closed(t)
		if got := fmt.Sprint(server.all()); got != "[connect drain end close false]" {
			t.Errorf("events %s", got)
		}
	})
}
