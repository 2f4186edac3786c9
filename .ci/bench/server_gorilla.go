package main

import (
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// serveGorilla echoes with gorilla, behind net/http. Its room is that of gorilla's own chat
// example, with prepared messages: each member has a queue and a goroutine that writes, so that a
// slow one does not hold up the others.
func serveGorilla(e endpoint) error {
	room := &gorillaRoom{}
	s := &http.Server{Handler: http.HandlerFunc(room.serve), ReadHeaderTimeout: time.Minute}
	return s.Serve(e.secured())
}

// gorillaQueue is how many messages a member may be behind.
const gorillaQueue = 256

type gorillaRoom struct {
	mu      sync.Mutex
	members []chan *websocket.PreparedMessage
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
		switch msg[0] {
		case tagPublish:
			err = g.publish(kind, msg)
		case tagJoin:
			if err = c.WriteMessage(kind, msg); err == nil {
				g.join(c)
			}
		default:
			err = c.WriteMessage(kind, msg)
		}
		if err != nil {
			return
		}
	}
}

func (g *gorillaRoom) join(c *websocket.Conn) {
	queue := make(chan *websocket.PreparedMessage, gorillaQueue)
	go func() { // ends when the client is gone, or with the process
		for p := range queue {
			if c.WritePreparedMessage(p) != nil {
				return
			}
		}
	}()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members = append(g.members, queue)
}

func (g *gorillaRoom) publish(kind int, msg []byte) error {
	p, err := websocket.NewPreparedMessage(kind, msg)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, queue := range g.members {
		select {
		case queue <- p:
		default: // the load misses it, and fails
		}
	}
	return nil
}
