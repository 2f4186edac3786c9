package main

import (
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// serveGorilla echoes with gorilla, behind net/http; its room sends a prepared message to one member after the other.
func serveGorilla(e endpoint) error {
	room := &gorillaRoom{}
	s := &http.Server{Handler: http.HandlerFunc(room.serve), ReadHeaderTimeout: time.Minute}
	return s.Serve(e.secured())
}

type gorillaRoom struct {
	mu      sync.Mutex // held to write, too: only one goroutine at a time may
	members []*websocket.Conn
}

func (g *gorillaRoom) serve(w http.ResponseWriter, r *http.Request) {
	u := websocket.Upgrader{}
	c, err := u.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer c.Close()
	for {
		kind, msg, err := c.ReadMessage()
		if err != nil {
			return
		}
		if err := g.answer(c, kind, msg); err != nil {
			return
		}
	}
}

func (g *gorillaRoom) answer(c *websocket.Conn, kind int, msg []byte) error {
	if msg[0] == tagEcho {
		return c.WriteMessage(kind, msg)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if msg[0] == tagJoin {
		g.members = append(g.members, c)
		return c.WriteMessage(kind, msg)
	}
	p, err := websocket.NewPreparedMessage(kind, msg)
	if err != nil {
		return err
	}
	for _, m := range g.members {
		_ = m.WritePreparedMessage(p) // fails when the member is gone
	}
	return nil
}
