package portluck

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// eventRoom serves a hub. A GET request below /room joins its room "lobby", which has a history.
func eventRoom(t *testing.T) (url string, h *Hub, e *events) {
	t.Helper()
	h, e = record(nil)
	h.RoomOptions = func(string) RoomOptions { return RoomOptions{History: 3} }
	addr := serve(t, &Server{Hub: h, RoomOf: func(r *http.Request) (string, bool) {
		name, ok := strings.CutPrefix(r.URL.Path, "/room/")
		return name, ok
	}})
	return "http://" + addr, h, e
}

// stream asks for events. If last is not empty, it asks for those after it.
func stream(t *testing.T, url, last string, header ...string) (*bufio.Reader, *http.Response) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html;q=0.5, text/event-stream;q=0.9")
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return bufio.NewReader(resp.Body), resp
}

// event reads the next event that is not a comment, without its id.
func event(t *testing.T, r *bufio.Reader) (text, id string) {
	t.Helper()
	var lines []string
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("after %q: %v", lines, err)
		}
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, ":"):
		case strings.HasPrefix(line, "id: "):
			id = line[4:]
		case line != "":
			lines = append(lines, line)
		case len(lines) > 0:
			return strings.Join(lines, "|"), id
		}
	}
}

func TestEvents(t *testing.T) {
	url, h, e := eventRoom(t)
	room := h.Room("lobby")
	publish(room, 1, 5)
	in, resp := stream(t, url+"/room/lobby", "")
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" || resp.StatusCode != http.StatusOK {
		t.Errorf("%s, Content-Type %q", resp.Status, got)
	}
	for i := 3; i <= 5; i++ {
		text, id := event(t, in)
		if want := (Position{Epoch: room.Position().Epoch, Seq: uint64(i)}).String(); text != fmt.Sprint("data: ", i) || id != want {
			t.Errorf("history: %q with id %q, want %d and %q", text, id, i, want)
		}
	}
	room.Publish(TextMessage("two\nlines\r\nand a third\r"))
	if got, _ := event(t, in); got != "data: two|data: lines|data: and a third|data: " {
		t.Errorf("got %q", got)
	}
	room.Publish(Message{Data: []byte{0xff, 0}, Kind: Binary})
	got, last := event(t, in)
	if got != "event: binary|data: /wA=" {
		t.Errorf("got %q", got)
	}
	h.Clients()[0].Writer().WriteString("for you")
	if got, id := event(t, in); got != "data: for you" || id != "" {
		t.Errorf("got %q, id %q", got, id)
	}
	resp.Body.Close()
	e.want(t, "connect http", "disconnect http")
	publish(room, 8, 8)
	again, _ := stream(t, url+"/room/lobby", last)
	if got, _ := event(t, again); got != "data: 8" {
		t.Errorf("resumed with %q", got)
	}
	stale, _ := stream(t, url+"/room/lobby", "abc-1")
	if got, _ := event(t, stale); got != "event: gap|data: messages after abc-1 are no longer kept" {
		t.Errorf("got %q instead of a gap", got)
	}
	for _, foreign := range []string{"42", "nonsense", "1-2-3", "\xff", strings.Repeat("9", 100)} {
		other, _ := stream(t, url+"/room/lobby", foreign)
		if got, _ := event(t, other); got != "event: gap|data: messages may be missing: the last one that was seen is not known here" {
			t.Errorf("%q: got %q instead of a gap", foreign, got)
		}
	}
}

func TestEventsRefused(t *testing.T) {
	url, _, e := eventRoom(t)
	if _, resp := stream(t, url+"/elsewhere", ""); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a path without a room: %s", resp.Status)
	}
	if _, resp := stream(t, url+"/room/lobby", "", "Origin", "http://elsewhere.example"); resp.StatusCode != http.StatusForbidden {
		t.Errorf("another origin: %s", resp.Status)
	}
	for _, s := range e.waitFor(1) {
		if !strings.HasPrefix(s, "error ") {
			t.Errorf("event %q", s)
		}
	}
}

// The program ends one stream and destroys another, and a shutdown ends the rest.
func TestEventsEnd(t *testing.T) {
	h := &Hub{}
	gone := make(chan error, 3)
	h.OnDisconnect = func(_ *Client, err error) { gone <- err }
	s := &Server{Hub: h, RoomOf: func(*http.Request) (string, bool) { return "x", true }}
	url := "http://" + serve(t, s)
	for _, end := range []func(w *Writer){
		func(w *Writer) { w.WriteString("bye"); w.End() },
		func(w *Writer) { w.Destroy() },
		func(*Writer) { go s.Shutdown(context.Background()) },
	} {
		in, _ := stream(t, url, "")
		eventually(t, "it is there", func() bool { return h.Len() == 1 })
		end(h.Clients()[0].Writer())
		all, _ := io.ReadAll(in)
		if got := string(all); got != ": connected\n\n" && got != ": connected\n\ndata: bye\n\n" {
			t.Errorf("read %q", got)
		}
		err := <-gone
		if err != nil && err != handlers.ErrShutdown {
			t.Errorf("OnDisconnect got %v", err)
		}
	}
}

// A panic in OnConnect is answered like that of any other request.
func TestEventsPanic(t *testing.T) {
	h := &Hub{OnConnect: func(*Writer, *Client) { panic("oops") }}
	url := "http://" + serve(t, &Server{Hub: h, RoomOf: func(*http.Request) (string, bool) { return "x", true }})
	if _, resp := stream(t, url, ""); resp.StatusCode != http.StatusInternalServerError {
		t.Errorf("answered %s", resp.Status)
	}
	if h.Len() != 0 || h.Room("x").Len() != 0 {
		t.Errorf("%d clients and %d members are left", h.Len(), h.Room("x").Len())
	}
}

func TestPoll(t *testing.T) {
	t.Parallel()
	url, h, _ := eventRoom(t)
	room := h.Room("lobby")
	publish(room, 1, 5)
	poll := func(since, accept string) (string, *http.Response) {
		t.Helper()
		r := must(http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/room/lobby?since="+since, nil))
		r.Header.Set("Accept", accept)
		resp := must(http.DefaultClient.Do(r))
		defer resp.Body.Close()
		return string(must(io.ReadAll(resp.Body))), resp
	}
	body, resp := poll("", "*/*")
	at := resp.Header.Get("Portluck-Position")
	if body != "3\n4\n5\n" || at != room.Position().String() || resp.Header.Get("Portluck-Complete") != "false" {
		t.Errorf("first poll: %q, %v", body, resp.Header)
	}
	time.AfterFunc(50*time.Millisecond, func() { room.Publish(Message{Data: []byte("\xff")}) })
	body, _ = poll(at, "application/json")
	var got polled
	if err := json.Unmarshal([]byte(body), &got); err != nil || !got.Complete || len(got.Messages) != 1 || !slices.Equal(got.Messages[0].Base64, []byte{0xff}) {
		t.Errorf("second poll: %s, %v", body, err)
	}
	for _, foreign := range []string{"42", "nonsense", "1-2-3", "%00", strings.Repeat("9", 100)} {
		if body, resp := poll(foreign, ""); resp.StatusCode != http.StatusOK || !strings.HasSuffix(body, "5\n\xff\n") || resp.Header.Get(completeHeader) != "false" {
			t.Errorf("the position %q: %s %q", foreign, resp.Status, body)
		}
	}
	// With a position of another server the client gets what is kept, and learns that something may
	// be missing.
	epoch, _, _ := strings.Cut(at, "-")
	for _, foreign := range []string{
		"1-1", "abc-0", "ABCDEF-3", epoch + "-99", strings.Repeat("f", 16) + "-1", strings.Repeat("f", 40) + "-1", epoch + "-" + strings.Repeat("9", 40),
		epoch + "0-1", "0-0",
	} {
		body, resp := poll(foreign, "")
		if resp.StatusCode != http.StatusOK || !strings.HasSuffix(body, "5\n\xff\n") || resp.Header.Get(completeHeader) != "false" {
			t.Errorf("the position %s: %s %q %v", foreign, resp.Status, body, resp.Header)
		}
		r := must(http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/room/lobby", nil))
		r.Header.Set("Accept", eventStream)
		r.Header.Set("Last-Event-ID", foreign)
		resp = must(http.DefaultClient.Do(r))
		line, err := bufio.NewReader(resp.Body).ReadString('\n')
		if resp.StatusCode != http.StatusOK || line != "event: gap\n" || err != nil {
			t.Errorf("events after %s: %s %q, %v", foreign, resp.Status, line, err)
		}
		resp.Body.Close()
	}
}
