package chat

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/portluck/portluck/portluck"
	"github.com/portluck/portluck/testdata/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// serve serves r on a free port until the end of the test.
func serve(t *testing.T, r *Room) (addr string) {
	t.Helper()
	srv := &portluck.Server{Hub: r.Hub, RoomOf: r.RoomOf, OnVerdict: r.Verdict, SniffTimeout: time.Minute}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { // ends with the server
		_ = srv.Serve(l)
		close(served)
	}()
	t.Cleanup(func() {
		srv.Close()
		<-served
	})
	return l.Addr().String()
}

// A socket is the client end of a WebSocket.
type socket struct {
	net.Conn
	t *testing.T
}

func dial(t *testing.T, addr, path string) *socket {
	t.Helper()
	c, br, _, err := ws.Dial(t.Context(), "ws://"+addr+path)
	if err != nil {
		t.Fatal(err)
	}
	if br != nil && br.Buffered() > 0 {
		early := make([]byte, br.Buffered())
		_, _ = br.Read(early)
		c = &unread{Conn: c, early: early}
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	return &socket{c, t}
}

// unread is a connection with bytes that were read too early, which Read returns first.
type unread struct {
	net.Conn
	early []byte
}

func (u *unread) Read(p []byte) (int, error) {
	if len(u.early) > 0 {
		n := copy(p, u.early)
		u.early = u.early[n:]
		return n, nil
	}
	return u.Conn.Read(p)
}

func (s *socket) say(text string) {
	s.t.Helper()
	if err := wsutil.WriteClientText(s, []byte(text)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *socket) next() string {
	s.t.Helper()
	b, err := wsutil.ReadServerText(s)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

func (s *socket) line() Line {
	s.t.Helper()
	var l Line
	if text := s.next(); json.Unmarshal([]byte(text), &l) != nil {
		s.t.Fatalf("%q is no line", text)
	}
	return l
}

// you reads the first message of a page, and returns the page's own id.
func (s *socket) you() uint64 {
	s.t.Helper()
	var h hello
	if text := s.next(); json.Unmarshal([]byte(text), &h) != nil || h.You == 0 {
		s.t.Fatalf("the first message of a page is %q", text)
	}
	return h.You
}

// A WebSocket that joins gets the history. A page gets it with author, time and server.
func TestHistory(t *testing.T) {
	r := New(false)
	addr := serve(t, r)
	r.Tell("[put key1] {}")
	r.Heard("0ABC", "[wss [::1]:4711] over there")
	r.Tell("no tag")

	plain := dial(t, addr, "/")
	// Lines of other servers would come from the hub.
	for _, want := range []string{"[put key1] {}", "no tag"} {
		if got := plain.next(); got != want {
			t.Errorf("the WebSocket got %q, want %q", got, want)
		}
	}
	p := dial(t, addr, "/?lines=json")
	you := p.you()
	keys := map[string]bool{}
	check := func(got, want Line) {
		t.Helper()
		if keys[got.Key] || got.Key == "" || time.Since(got.Time) > time.Hour {
			t.Errorf("key %q, time %v", got.Key, got.Time)
		}
		keys[got.Key] = true
		got.Key, got.Time = "", time.Time{}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("the page got %+v, want %+v", got, want)
		}
	}
	check(p.line(), Line{Scheme: "put", From: "key1", Text: "{}"})
	check(p.line(), Line{Scheme: "wss", From: "[::1]:4711", Server: "0ABC", Text: "over there"})
	check(p.line(), Line{Text: "no tag"})

	p.say("<b>&\u2028 mine")
	check(p.line(), Line{Client: you, Scheme: "ws", From: p.LocalAddr().String(), Text: "<b>& mine"})
	if got, want := plain.next(), "[ws "+p.LocalAddr().String()+"] <b>& mine"; got != want {
		t.Errorf("the WebSocket got %q, want %q", got, want)
	}
	plain.say("theirs")
	if l := p.line(); l.Client == you || l.Text != "theirs" {
		t.Errorf("the page got %+v", l)
	}
	if r.Members() != 2 {
		t.Errorf("%d members, want 2", r.Members())
	}
}

// Raw clients get plain lines, and only new ones.
func TestRaw(t *testing.T) {
	r := New(false)
	addr := serve(t, r)
	r.Tell("before")
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprint(c, "a\x1b[2J\n")
	want := "[tcp " + c.LocalAddr().String() + "] a[2J\n"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Errorf("the raw client got %q, %v, want %q", got, err, want)
	}
}

// With echo each client gets back what it sends; a page gets it as a Line.
func TestEcho(t *testing.T) {
	r := New(true)
	addr := serve(t, r)
	plain, p := dial(t, addr, "/"), dial(t, addr, "/?lines=json")
	you := p.you()
	plain.say(" a\tb ")
	if got := plain.next(); got != " a\tb " {
		t.Errorf("the WebSocket got %q", got)
	}
	p.say("c")
	if l := p.line(); l.Client != you || l.Text != "c" {
		t.Errorf("the page got %+v", l)
	}
}

// Watch gets every event, as text that is safe on a terminal and not too long.
func TestWatch(t *testing.T) {
	for _, echo := range []bool{false, true} {
		t.Run(fmt.Sprint("echo ", echo), func(t *testing.T) {
			r := New(echo)
			var mu sync.Mutex
			var got []string
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			r.Watch = func(text string) {
				mu.Lock()
				defer mu.Unlock()
				if got = append(got, text); strings.HasPrefix(text, "- ") {
					cancel()
				}
			}
			addr := serve(t, r)
			s := dial(t, addr, "/")
			s.say("hello\x1b]0;title\x07 " + strings.Repeat("é", 10000))
			s.next()
			s.Close()
			<-ctx.Done()
			mu.Lock()
			defer mu.Unlock()
			me := "ws " + s.LocalAddr().String()
			if len(got) != 3 || got[0] != "+ "+me || !strings.HasPrefix(got[1], "["+me+"] hello]0;title éé") || got[2] != "- "+me {
				t.Errorf("told %q", got)
			}
			if len(got) > 1 && (len(got[1]) > maxWatched+3 || !strings.HasSuffix(got[1], "é...")) {
				t.Errorf("told a line of %d bytes: %q", len(got[1]), got[1])
			}
		})
	}
}

func TestShorten(t *testing.T) {
	tests := []struct {
		s    string
		n    int
		want string
	}{
		{"", 0, ""},
		{"abc", 3, "abc"},
		{"abcd", 3, "abc..."},
		{"aé", 2, "a..."},
		{"\xa9\xa9\xa9", 2, "..."},
		{"日本", 5, "日..."},
	}
	for _, tt := range tests {
		if got := Shorten(tt.s, tt.n); got != tt.want {
			t.Errorf("Shorten(%q, %d) = %q, want %q", tt.s, tt.n, got, tt.want)
		}
	}
}
