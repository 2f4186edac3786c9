package main

import (
	"net/http"
	"time"

	"github.com/portluck/portluck/portluck"
)

// servePortluck echoes with the default limits and timeouts of a Server.
func servePortluck(e endpoint) error {
	hub := &portluck.Hub{}
	room := hub.Room("all")
	hub.OnMessage = func(m portluck.Message, w *portluck.Writer, c *portluck.Client) {
		switch m.Data[0] {
		case tagPublish:
			room.Publish(m)
			return
		case tagJoin:
			_ = room.Join(c) // fails when the client is gone
		}
		if d := sleepOf(len(m.Data)); d > 0 {
			time.Sleep(d)
		}
		_ = w.Send(m) // fails when the client is gone
	}
	s := &portluck.Server{Hub: hub, TLSConfig: e.tls, Pages: http.HandlerFunc(servePage)}
	return s.Serve(e.Listener)
}
