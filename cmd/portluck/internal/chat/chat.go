// Package chat is the hub of the demo server: one room for the clients of all protocols.
package chat

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/portluck"
)

// Seen is a connection as the page shows it.
type Seen struct {
	ID     int       `json:"id"`
	Time   time.Time `json:"time"`
	Remote string    `json:"remote"`
	Route  string    `json:"route"`           // the route that the port chose
	Scheme string    `json:"scheme"`          // of the client; empty until it connects
	First  string    `json:"first,omitempty"` // hex of the first bytes, without secrets
	Open   bool      `json:"open"`            // the client is connected
}

// maxSeen is how many connections a Room remembers.
const maxSeen = 100

// Lobby is the name of the room of all clients, on every server of a mesh.
const Lobby = "lobby"

// history is how many lines a room keeps for clients that join or resume.
const history = 100

// pages is the name of the room of the pages, which get each line as a [Line].
const pages = "pages"

// A Room is a hub that sends each client's lines to all clients and remembers the last connections.
type Room struct {
	// Hub is the room's hub. New has set its funcs.
	Hub *portluck.Hub
	// Watch, if not nil, is called for each client that comes ("+ tcp 127.0.0.1:4711") or goes
	// ("- ..."), and for each line. Any goroutine may call it. The text is safe on a terminal and
	// little longer than maxWatched bytes. Watch must return at once. Set it before the first
	// client comes.
	Watch func(text string)

	lobby *portluck.Room // of all clients but the pages
	pages *portluck.Room
	echo  bool
	run   string // begins the keys of this run's lines
	lines atomic.Uint64

	viewers sync.Map // ids of the pages

	mu   sync.Mutex
	seen []*Seen // oldest first
	last int
}

// maxWatched is how many bytes of a line Watch gets before "...".
const maxWatched = 300

// New returns a room. With echo it sends each message back to its sender alone.
func New(echo bool) *Room {
	r := &Room{echo: echo, run: rand.Text()[:8]}
	r.Hub = &portluck.Hub{OnConnect: r.connect, OnMessage: r.say, OnDisconnect: r.disconnect}
	r.Hub.RoomOptions = func(name string) portluck.RoomOptions {
		o := portluck.RoomOptions{Local: name != Lobby} // other servers may name any room
		if name == Lobby || name == pages {
			o.History = history
		}
		return o
	}
	r.lobby, r.pages = r.Hub.Room(Lobby), r.Hub.Room(pages)
	return r
}

// say sends a message to all as a line, tagged with its sender. It drops empty lines.
func (r *Room) say(m portluck.Message, w *portluck.Writer, c *portluck.Client) {
	if r.echo {
		r.back(m, w, c)
		return
	}
	if l, ok := r.line(m, c); ok {
		r.publish(l)
	}
}

// back sends a message back to its sender. A page gets it as a [Line].
func (r *Room) back(m portluck.Message, w *portluck.Writer, c *portluck.Client) {
	_, page := r.viewers.Load(c.ID())
	if !page {
		_ = w.Send(m)
	}
	if !page && r.Watch == nil {
		return
	}
	if l, ok := r.line(m, c); ok && page {
		_ = w.Send(l.message())
	}
}

// line returns the line for a message of c, and notes it. ok is false if the line is empty.
func (r *Room) line(m portluck.Message, c *portluck.Client) (l Line, ok bool) {
	l = Line{Client: c.ID(), Scheme: c.Scheme(), From: name(c.Info()), Text: Clean(m.String())}
	if l.Text == "" {
		return l, false
	}
	r.note(&l)
	return l, true
}

// publish sends l to all clients.
func (r *Room) publish(l Line) {
	r.lobby.Publish(portluck.TextMessage(l.plain()))
	r.pages.Publish(l.message())
}

// Tell sends a line of the server itself to all clients. With echo it does nothing.
func (r *Room) Tell(text string) {
	if r.echo {
		return
	}
	l := parse(Clean(text))
	r.note(&l)
	r.publish(l)
}

// Heard sends a line of another server of the mesh to the pages. Other clients get it from the hub.
func (r *Room) Heard(server, text string) {
	l := parse(Clean(text))
	l.Server = server
	r.note(&l)
	r.pages.Publish(l.message())
}

// parse returns the line of a text, with its tag, if any, taken apart.
func parse(text string) Line {
	if m := tagged.FindStringSubmatch(text); m != nil {
		return Line{Scheme: m[1], From: m[2], Text: text[len(m[0]):]}
	}
	return Line{Text: text}
}

// note sets the key and the time of l, and calls Watch.
func (r *Room) note(l *Line) {
	l.Key, l.Time = fmt.Sprintf("%s-%d", r.run, r.lines.Add(1)), time.Now()
	if r.Watch != nil {
		r.Watch(Shorten(l.String(), maxWatched))
	}
}

// Members returns the number of clients of this server.
func (r *Room) Members() int { return r.Hub.Len() }

// name returns the name by which others know a client: its remote address.
func name(info *portluck.Info) string {
	if info.Remote.IsValid() {
		return info.Remote.String()
	}
	return "local"
}

// Verdict remembers a connection and its route. It is for Server.OnVerdict.
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
		ID: r.last, Time: time.Now(), Remote: remote, Route: v.Route, First: fmt.Sprintf("%x", shown(v.Route, v.First)),
	})
	if len(r.seen) > maxSeen {
		r.seen = r.seen[len(r.seen)-maxSeen:]
	}
}

// RoomOf puts every request for events into the lobby. It is for Server.RoomOf.
func (r *Room) RoomOf(*http.Request) (room string, ok bool) { return r.lobby.Name(), true }

// connect adds a client to its room. Pages and other WebSocket clients also get the history, as
// readers of events do. Raw clients and requests get only new lines.
func (r *Room) connect(w *portluck.Writer, c *portluck.Client) {
	if r.Watch != nil {
		r.Watch("+ " + c.Scheme() + " " + name(c.Info()))
	}
	// An error means that the client has gone.
	switch {
	case isPage(c):
		r.viewers.Store(c.ID(), nil)
		_ = w.Send(jsonMessage(hello{You: c.ID()}))
		_ = r.pages.Join(c)
	case c.Protocol() == handlers.ProtocolWebSocket:
		_ = r.lobby.Join(c)
	default:
		_, _ = r.lobby.JoinSince(c, r.lobby.Position())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.findLocked(name(c.Info())); s != nil {
		s.Scheme = c.Scheme()
	}
}

func (r *Room) disconnect(c *portluck.Client, _ error) {
	r.viewers.Delete(c.ID())
	if r.Watch != nil {
		r.Watch("- " + c.Scheme() + " " + name(c.Info()))
	}
}

// isPage reports whether c is a WebSocket of the page, which requests "/?lines=json".
func isPage(c *portluck.Client) bool {
	if c.Protocol() != handlers.ProtocolWebSocket {
		return false
	}
	r := c.Request()
	return r != nil && r.URL.RawQuery == "lines=json"
}

func (r *Room) findLocked(remote string) *Seen {
	for i := len(r.seen) - 1; i >= 0; i-- {
		if r.seen[i].Remote == remote {
			return r.seen[i]
		}
	}
	return nil
}

// Seen returns the last connections, newest first. It leaves out their first bytes unless first is
// true.
func (r *Room) Seen(first bool) []Seen {
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
		if !first {
			s.First = ""
		}
		all = append(all, s)
	}
	return all
}
