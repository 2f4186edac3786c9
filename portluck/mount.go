package portluck

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/httpd"
	"github.com/portluck/portluck/handlers/websocket"
)

// A MountOption changes what the port does with the requests of a mount.
type MountOption int

// OwnCORS leaves it to the mounted handler which pages may talk to it. It gets the requests of all
// origins, CORS preflights among them, and the port adds no CORS fields. Hosts is still checked.
const OwnCORS MountOption = 1

// Mount makes h answer the HTTP requests that match pattern, a pattern of [http.ServeMux], over
// HTTP/1.1, h2 and TLS. A pattern without a method covers all methods. POST and PUT requests that
// match are then not clients of the hub. Pages of another origin may not send POST and PUT unless
// AllowOrigin allows it, or the mount has OwnCORS. A WebSocket handshake becomes a client of the
// hub under pattern too; see MountWebSocket. Shutdown waits for the requests that have begun.
//
// The context of a request is not done when the client has closed its half of the connection, as
// the client may still wait for the answer; [httpd.Ended] reports that. It is done when the
// connection breaks. A client that is gone is noticed when something is written to it, or by
// keep-alive, after 75 seconds on Linux.
//
// Mount panics after Serve, if h is nil, and if pattern is malformed or conflicts with an earlier
// one.
func (s *Server) Mount(pattern string, h http.Handler, options ...MountOption) {
	s.mount("Mount", &s.mux, pattern, h, options)
}

// MountWebSocket makes h answer the WebSocket handshakes that match pattern, a pattern of
// [http.ServeMux]: they are no clients of the hub. h may upgrade them with any library that hijacks
// the connection, which is then the program's: the port counts it for MaxConns until it is closed,
// and neither waits for it at Shutdown nor closes it. Requests for the same path that are no
// handshakes are served as without the mount. A page of another origin gets 403 unless AllowOrigin
// allows it, or the mount has OwnCORS. A handshake comes over HTTP/1.1, in the clear or in TLS.
//
// MountWebSocket panics as Mount does.
func (s *Server) MountWebSocket(pattern string, h http.Handler, options ...MountOption) {
	s.mount("MountWebSocket", &s.webSockets, pattern, h, options)
}

// mount registers h in mux for the method call, which messages name.
func (s *Server) mount(call string, mux **http.ServeMux, pattern string, h http.Handler, options []MountOption) {
	if s.serving.Load() {
		panic("portluck: " + call + " after Serve: the patterns are frozen; mount them first")
	}
	if handlers.IsNil(h) {
		panic(fmt.Sprintf("portluck: %s(%q): nil handler", call, pattern))
	}
	for _, o := range options {
		if o != OwnCORS {
			panic(fmt.Sprintf("portluck: %s(%q): unknown option %d", call, pattern, o))
		}
		h = httpd.OwnCORS(h)
	}
	if *mux == nil {
		*mux = http.NewServeMux()
	}
	(*mux).Handle(pattern, h)
}

// isHubWebSocket reports whether b begins with a handshake that package websocket reads as net/http
// does, and that is not mounted.
func (s *Server) isHubWebSocket(b []byte) bool {
	if !websocket.IsPlain(b) {
		return false
	}
	if s.webSockets == nil {
		return true
	}
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
	if err != nil {
		return false
	}
	_, pattern := s.webSockets.Handler(r)
	return pattern == ""
}
