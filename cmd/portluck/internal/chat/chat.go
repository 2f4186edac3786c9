// Package chat is the demo's hub: a room of which every client is a member, whatever protocol it speaks.
package chat

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/portluck/portluck/portluck"
)

// Seen is a connection as the demo page shows it.
type Seen struct {
	ID     int       `json:"id"`
	Time   time.Time `json:"time"`
	Remote string    `json:"remote"`
	Route  string    `json:"route"`  // what the port recognised
	Scheme string    `json:"scheme"` // what the client turned out to speak; empty if it has not connected
	First  string    `json:"first"`  // hex of the first bytes
	Open   bool      `json:"open"`   // it is a client now
}

// maxSeen is how many connections are remembered.
const maxSeen = 100

// lobby is the name of the room that everybody is in.
const lobby = "lobby"

// history is how many lines a reader of events or a poller can be behind.
const history = 100

// A Room is a hub in which a line of one client goes to all, and which remembers the last connections.
type Room struct {
	// Hub is the room's. Its funcs are set.
	Hub *portluck.Hub

	lobby *portluck.Room // has everybody
	echo  bool

	mu   sync.Mutex
	seen []*Seen // oldest first
	last int
}

// New makes a room. With echo a message goes back to who sent it instead.
func New(echo bool) *Room {
	r := &Room{echo: echo}
	r.Hub = &portluck.Hub{OnConnect: r.connect, OnMessage: r.say}
	r.Hub.RoomOptions = func(name string) portluck.RoomOptions {
		if name != lobby {
			return portluck.RoomOptions{Local: true} // other servers may name any room
		}
		return portluck.RoomOptions{History: history}
	}
	r.lobby = r.Hub.Room(lobby)
	if echo {
		r.Hub.OnMessage = func(m portluck.Message, w *portluck.Writer, _ *portluck.Client) { _ = w.Send(m) }
	}
	return r
}

// say sends a line to everybody, with where it came from in front. Empty lines are dropped.
func (r *Room) say(m portluck.Message, _ *portluck.Writer, c *portluck.Client) {
	if text := Clean(m.String()); text != "" {
		r.lobby.Publish(portluck.TextMessage(fmt.Sprintf("[%s %s] %s", c.Scheme(), name(c.Info()), text)))
	}
}

// Tell tells everybody what no client has said. With echo there is no room to tell it in.
func (r *Room) Tell(text string) {
	if !r.echo {
		r.lobby.Publish(portluck.TextMessage(Clean(text)))
	}
}

// name is who a client is for the others.
func name(info *portluck.Info) string {
	if info.Remote.IsValid() {
		return info.Remote.String()
	}
	return "local"
}

// Clean makes a line of any bytes that is safe on a terminal: valid UTF-8 without control characters.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// Verdict remembers how a connection was classified. It is for Server.OnVerdict.
func (r *Room) Verdict(v portluck.Verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	remote := name(v.Info)
	if s := r.findLocked(remote); s != nil && v.Info.TLS != nil {
		s.Route += " > " + v.Route // inside TLS
		return
	}
	r.last++
	r.seen = append(r.seen, &Seen{
		ID: r.last, Time: time.Now(), Remote: remote, Route: v.Route, First: fmt.Sprintf("%x", v.First),
	})
	if len(r.seen) > maxSeen {
		r.seen = r.seen[len(r.seen)-maxSeen:]
	}
}

// RoomOf puts every request for events into the lobby. It is for Server.RoomOf.
func (r *Room) RoomOf(*http.Request) (room string, ok bool) { return r.lobby.Name(), true }

func (r *Room) connect(_ *portluck.Writer, c *portluck.Client) {
	_, _ = r.lobby.JoinSince(c, r.lobby.Position()) // an error means that it has gone again
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.findLocked(name(c.Info())); s != nil {
		s.Scheme = c.Scheme()
	}
}

func (r *Room) findLocked(remote string) *Seen {
	for i := len(r.seen) - 1; i >= 0; i-- {
		if r.seen[i].Remote == remote {
			return r.seen[i]
		}
	}
	return nil
}

// Seen returns the last connections, the newest first.
func (r *Room) Seen() []Seen {
	open := map[string]bool{}
	for _, c := range r.Hub.Clients() {
		open[name(c.Info())] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Seen, 0, len(r.seen))
	for i := len(r.seen) - 1; i >= 0; i-- {
		s := *r.seen[i]
		s.Open = open[s.Remote]
		all = append(all, s)
	}
	return all
}
