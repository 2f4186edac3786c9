package portluck

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// asking is a hub that asks hook and keeps the errors of refused clients.
func asking(hook func(ctx context.Context, h *Handshake) error) (h *Hub, refused chan error) {
	refused = make(chan error, 100)
	h = &Hub{OnMessage: func(m Message, w *Writer, _ *Client) { _ = w.Send(m) }}
	h.OnHandshake = hook
	h.OnError = func(_ *Info, err error) { refused <- err }
	return h, refused
}

// postWith sends a message in a request to addr and returns the response and its body.
func postWith(t *testing.T, addr string, header http.Header) (r *http.Response, body string) {
	t.Helper()
	return postTo(t, "http://"+addr+"/", header)
}

func postTo(t *testing.T, url string, header http.Header) (r *http.Response, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req := must(http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("x\n")))
	req.Header = header
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	return r, string(must(io.ReadAll(r.Body)))
}

// A request is admitted before it is a client: its answer has the header that OnHandshake sets,
// whether or not it is refused.
func TestHandshakeOfRequests(t *testing.T) {
	t.Parallel()
	hub, refused := asking(func(_ context.Context, h *Handshake) error {
		h.Header.Set("WWW-Authenticate", "Bearer")
		switch h.Request.Header.Get("Authorization") {
		case "Bearer good":
			h.User = "ann"
			return nil
		case "Bearer busy":
			return &Refusal{Status: 429, Text: "too many", RetryAfter: time.Minute}
		case "Bearer panic":
			panic("of the program")
		case "Bearer old":
			h.Expires = time.Now().Add(-time.Second)
			return nil
		case "":
			return &Refusal{Status: http.StatusUnauthorized, Text: "log in"}
		}
		return errors.New("of a database")
	})
	user := make(chan string, 10)
	hub.OnConnect = func(_ *Writer, c *Client) {
		if l := c.Info().Login; l != nil {
			user <- l.User
		}
	}
	addr := serve(t, &Server{Hub: hub})
	for _, tt := range []struct {
		token, body, retryAfter string
		status                  int
		err                     error
	}{
		{token: "", status: 401, body: "log in\n"},
		{token: "Bearer good", status: 200, body: "x\n"},
		{token: "Bearer bad", status: 403, body: "refused\n", err: handlers.ErrPolicy},
		{token: "Bearer busy", status: 429, body: "too many\n", retryAfter: "60"},
		{token: "Bearer panic", status: 500, body: "Internal Server Error\n", err: handlers.ErrPanic},
		{token: "Bearer old", status: 401, body: handlers.ErrExpired.Error() + "\n", err: handlers.ErrExpired},
	} {
		header := http.Header{}
		if tt.token != "" {
			header.Set("Authorization", tt.token)
		}
		r, body := postWith(t, addr, header)
		if r.StatusCode != tt.status || body != tt.body || r.Header.Get("Retry-After") != tt.retryAfter {
			t.Errorf("%q: %d %q, Retry-After %q, want %d %q, %q", tt.token, r.StatusCode, body, r.Header.Get("Retry-After"), tt.status, tt.body, tt.retryAfter)
		}
		if got := r.Header.Get("WWW-Authenticate"); got != "Bearer" && tt.err != handlers.ErrPanic {
			t.Errorf("%q: WWW-Authenticate = %q", tt.token, got)
		}
		if tt.status == 200 {
			continue
		}
		if err := awaited(t, refused); tt.err != nil && !errors.Is(err, tt.err) {
			t.Errorf("%q: OnError(%v), want %v", tt.token, err, tt.err)
		}
	}
	if got := awaited(t, user); got != "ann" {
		t.Errorf("user = %q", got)
	}
}

// OnHandshake may ignore its context: at the deadline the client is refused, and the call counts
// until it returns.
func TestHandshakeTimeout(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	hub, refused := asking(func(ctx context.Context, h *Handshake) error {
		if h.Request.Header.Get("Slow") != "" {
			<-release
			h.Header.Set("X-Late", "1")
		}
		return nil
	})
	s := &Server{Hub: hub, HandshakeTimeout: 20 * time.Millisecond, MaxHandshakes: 1}
	addr := serve(t, s)
	r, body := postWith(t, addr, http.Header{"Slow": {"1"}})
	if r.StatusCode != 503 || r.Header.Get("Retry-After") != "1" || body != "the server is busy, try again later\n" {
		t.Errorf("late: %d %v %q", r.StatusCode, r.Header, body)
	}
	if err := awaited(t, refused); !errors.Is(err, handlers.ErrTimeout) {
		t.Errorf("OnError(%v), want %v", err, handlers.ErrTimeout)
	}
	if r, _ = postWith(t, addr, nil); r.StatusCode != 503 {
		t.Errorf("beside a call that runs: %d, want 503", r.StatusCode)
	}
	if err := awaited(t, refused); !errors.Is(err, handlers.ErrOverload) {
		t.Errorf("OnError(%v), want %v", err, handlers.ErrOverload)
	}
	close(release)
	eventually(t, "the call has ended", func() bool { return must(s.start()).admissions.running.Load() == 0 })
	if r, _ = postWith(t, addr, nil); r.StatusCode != 200 {
		t.Errorf("after it has ended: %d, want 200", r.StatusCode)
	}
}

// awaited returns the next value of c.
func awaited[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("nothing comes")
	}
	return v
}

// OnHandshake is asked about event streams and polls before they are answered. Its header fields
// are in the answer, also in that of a refusal.
func TestHandshakeOfStreams(t *testing.T) {
	t.Parallel()
	hub := &Hub{RoomOptions: func(string) RoomOptions { return RoomOptions{History: 1} }}
	hub.OnHandshake = func(_ context.Context, h *Handshake) error {
		h.Header.Set("X-Seen", h.Request.URL.Path)
		if h.Request.URL.Path == "/no" {
			return &Refusal{Status: 401}
		}
		return nil
	}
	addr := serve(t, &Server{Hub: hub, RoomOf: func(*http.Request) (string, bool) { return "room", true }})
	hub.Room("room").Publish(TextMessage("x"))
	for _, tt := range []struct {
		target, accept string
		status         int
	}{
		{"/no", eventStream, 401},
		{"/yes", eventStream, 200},
		{"/no?since=", "*/*", 401},
		{"/yes?since=", "*/*", 200},
	} {
		c := dial(t, addr)
		send(t, c, "GET "+tt.target+" HTTP/1.1\r\nHost: localhost\r\nAccept: "+tt.accept+"\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if seen := resp.Header.Get("X-Seen"); resp.StatusCode != tt.status || !strings.HasPrefix(tt.target, seen) || seen == "" {
			t.Errorf("%s %s: %s, X-Seen %q, want %d", tt.target, tt.accept, resp.Status, seen, tt.status)
		}
		c.Close()
	}
}
