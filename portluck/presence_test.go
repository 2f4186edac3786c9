package portluck

import (
	"context"
	"net/http"
	"testing"
)

// An event stream that asks for presence is told who is there, and then who comes and goes.
func TestEventsOfPresence(t *testing.T) {
	t.Parallel()
	h, _ := record(nil)
	h.RoomOptions = func(string) RoomOptions { return RoomOptions{Presence: true, PresenceGrace: -1} }
	h.OnHandshake = func(_ context.Context, hs *Handshake) error {
		hs.User = hs.Request.Header.Get("User")
		return nil
	}
	addr := serve(t, &Server{Hub: h, RoomOf: func(*http.Request) (string, bool) { return "x", true }})
	url := "http://" + addr + "/"
	quiet, _ := stream(t, url, "", "User", "ann")
	eventually(t, "ann is there", func() bool { return h.Room("x").Len() == 1 })
	in, _ := stream(t, url+"?presence", "", "User", `bob "b"`)
	first, _ := event(t, in)
	if first == `event: presence|data: {"j":[{"id":"1","u":"ann"}]}` { // bob is told of apart
		second, _ := event(t, in)
		first = second
	}
	for _, want := range []string{`event: presence|data: {"j":[{"id":"1","u":"ann"},{"id":"2","u":"bob \"b\""}]}`, `event: presence|data: {"j":[{"id":"2","u":"bob \"b\""}]}`} {
		if first == want {
			first = ""
		}
	}
	if first != "" {
		t.Errorf("got %q first", first)
	}
	_, third := stream(t, url, "")
	if got, _ := event(t, in); got != `event: presence|data: {"j":[{"id":"3"}]}` {
		t.Errorf("got %q when somebody came", got)
	}
	third.Body.Close()
	if got, _ := event(t, in); got != `event: presence|data: {"l":[{"id":"3"}]}` {
		t.Errorf("got %q when somebody left", got)
	}
	h.Room("x").Publish(TextMessage("end"))
	if got, _ := event(t, quiet); got != "data: end" {
		t.Errorf("who has not asked got %q", got)
	}
}
