package portluck

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"github.com/portluck/portluck/handlers"
)

// A silent WebSocket client is pinged, whatever way it came, and ended if it does not answer.
func TestPingInterval(t *testing.T) {
	t.Parallel()
	for _, goroutines := range []bool{false, true} {
		for name, alpn := range map[string][]string{"ws": nil, "wss": nil, "wss with ALPN": {"http/1.1"}} {
			ends := make(chan error, 1)
			s := &Server{
				Goroutines: goroutines, TLSConfig: withTLS(), PingInterval: 30 * time.Millisecond,
				Hub: &Hub{OnDisconnect: func(_ *Client, err error) { ends <- err }},
			}
			d := ws.Dialer{TLSConfig: &tls.Config{InsecureSkipVerify: true, NextProtos: alpn}, Timeout: patience}
			scheme, _, _ := strings.Cut(name, " ")
			c, br, _, err := d.Dial(context.Background(), scheme+"://"+serve(t, s)+"/")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			in := io.Reader(c)
			if br != nil {
				in = br
			}
			for i, want := range []ws.OpCode{ws.OpPing, ws.OpClose} {
				h, err := ws.ReadHeader(in)
				if err != nil || h.OpCode != want {
					t.Fatalf("%s, goroutines %t: frame %d is %v, %v, want %v", name, goroutines, i, h.OpCode, err, want)
				}
				_, _ = io.CopyN(io.Discard, in, h.Length)
			}
			if err := <-ends; !errors.Is(err, handlers.ErrTimeout) {
				t.Errorf("%s, goroutines %t: %v, want ErrTimeout", name, goroutines, err)
			}
		}
	}
}

// An event stream gets a comment when there was no event for the interval, not at fixed times, and
// never if the interval is negative.
func TestEventStreamsBeatInSilence(t *testing.T) {
	t.Parallel()
	for _, interval := range []time.Duration{10 * time.Second, -1} {
		synctest.Test(t, func(t *testing.T) {
			w, closed := httptest.NewRecorder(), make(chan struct{})
			s := &sse{ready: make(chan struct{}, 1), rc: http.NewResponseController(w), interval: interval}
			done := make(chan error)
			go func() { done <- s.run(t.Context(), w, nil, closed) }()
			for range 5 {
				time.Sleep(7 * time.Second)
				if err := s.TrySend([]byte("x"), handlers.Text); err != nil {
					t.Error(err)
				}
			}
			time.Sleep(25 * time.Second)
			synctest.Wait()
			close(closed)
			<-done
			want := strings.Repeat("data: x\n\n", 5)
			if interval > 0 {
				want += ":\n\n:\n\n"
			}
			if got := w.Body.String(); got != want {
				t.Errorf("interval %v: %q, want %q", interval, got, want)
			}
		})
	}
}

// An event stream without events gets a comment at that interval.
func TestEventStreamsBeat(t *testing.T) {
	t.Parallel()
	s := &Server{PingInterval: 30 * time.Millisecond, RoomOf: func(*http.Request) (string, bool) { return "room", true }}
	c := dial(t, serve(t, s))
	send(t, c, "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
	in := bufio.NewReader(c)
	resp := must(http.ReadResponse(in, nil))
	body := bufio.NewReader(resp.Body)
	for _, want := range []string{": connected\n", "\n", ":\n", "\n", ":\n", "\n"} {
		if got := must(body.ReadString('\n')); got != want {
			t.Fatalf("read %q, want %q", got, want)
		}
	}
}
