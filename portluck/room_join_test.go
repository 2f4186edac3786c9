package portluck

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// OnJoin is asked once for each client that asks to join, before OnConnect, and not for those whom
// the program makes join.
func TestOnJoin(t *testing.T) {
	t.Parallel()
	h, e := record(nil)
	var asked atomic.Int64
	h.OnJoin = func(r *Room, c *Client) error {
		asked.Add(1)
		if _, err := c.Writer().WriteString("lost"); !errors.Is(err, handlers.ErrClosed) && strings.Contains(c.Request().URL.RawQuery, "since") {
			t.Errorf("WriteString to a poll = %v, want ErrClosed", err)
		}
		c.Writer().Header().Set("X-Room", r.Name())
		switch {
		case c.Request().Header.Get("Pass") != "":
			return nil
		case r.Name() == "panics":
			panic("of the program")
		case r.Name() == "busy":
			return &handlers.Refusal{Status: http.StatusTooManyRequests, Text: "slowly", RetryAfter: time.Minute}
		}
		return errors.New("the program's secret reason")
	}
	h.RoomOptions = func(string) RoomOptions { return RoomOptions{History: 1} }
	addr := serve(t, &Server{Hub: h, RoomOf: func(r *http.Request) (string, bool) { return r.URL.Path[1:], true }})
	h.Room("lobby").Publish(TextMessage("hello"))
	tests := []struct {
		name, path, pass string
		status           int
		body             string // its beginning
	}{
		{"events, refused", "/lobby", "", 403, "refused\n"},
		{"poll, refused", "/lobby?since=", "", 403, "refused\n"},
		{"events, panic", "/panics", "", 500, "Internal Server Error\n"},
		{"poll, panic", "/panics?since=", "", 500, "Internal Server Error\n"},
		{"events, refused for now", "/busy", "", 429, "slowly\n"},
		{"events", "/lobby", "yes", 200, ""},
		{"poll", "/lobby?since=", "yes", 200, "hello\n"},
	}
	for i, tt := range tests {
		_, resp := stream(t, "http://"+addr+tt.path, "", "Pass", tt.pass)
		if resp.StatusCode != tt.status || resp.Header.Get("X-Room") != h.Room(strings.TrimSuffix(tt.path[1:], "?since=")).Name() {
			t.Errorf("%s: %s, %v, want %d", tt.name, resp.Status, resp.Header, tt.status)
		}
		if tt.body != "" {
			if got := string(must(io.ReadAll(resp.Body))); got != tt.body {
				t.Errorf("%s: %q, want %q", tt.name, got, tt.body)
			}
		}
		if got := asked.Load(); got != int64(i+1) {
			t.Errorf("%s: asked %d times in all, want %d", tt.name, got, i+1)
		}
	}
	e.want(t, "error join: refused: the program's secret reason", "error join: refused: the program's secret reason",
		"error callback panicked", "error callback panicked", "error join: refused with status 429: slowly", "connect http")
	if err := h.Room("lobby").Join(h.Clients()[0]); err != nil || asked.Load() != int64(len(tests)) {
		t.Errorf("Join = %v, asked %d times", err, asked.Load())
	}
}

// A message with To goes to the poll that it is true for, and to no other.
func TestPollTo(t *testing.T) {
	t.Parallel()
	url, h, _ := eventRoom(t)
	room := h.Room("lobby")
	first := room.Publish(TextMessage("1"))
	mine := &PublishOptions{To: func(c *Client) bool { return c.Request().Header.Get("Who") == "me" }}
	if _, err := room.PublishContext(t.Context(), TextMessage("2"), mine); err != nil {
		t.Fatal(err)
	}
	room.Publish(TextMessage("3"))
	for who, want := range map[string]string{"me": "2\n3\n", "you": "3\n"} {
		_, resp := stream(t, url+"/room/lobby?since="+first.String(), "", "Who", who)
		if got := string(must(io.ReadAll(resp.Body))); got != want || resp.Header.Get(completeHeader) != "" {
			t.Errorf("%s got %q, %v, want %q", who, got, resp.Header, want)
		}
	}
}
