package httpd

import (
	"fmt"
	"net/http"

	"github.com/portluck/portluck/handlers"
)

// allow sets the CORS headers for a page that may talk to the server and returns true. For any
// other page it answers 403, without an event for the program, and returns false.
func (h *Handler) allow(w http.ResponseWriter, r *http.Request, l *httpConn) bool {
	if h.share(w, r) {
		return true
	}
	if r.ProtoMajor == 1 { // in HTTP/2 other requests may use the connection
		w.Header().Set("Connection", "close")
	}
	http.Error(w, "A page of this origin may not talk to this server.", http.StatusForbidden)
	info := requestInfo(r, l)
	l.port.Fail(&info, fmt.Errorf("origin: %w", handlers.ErrPolicy))
	return false
}

// share sets the CORS headers and reports whether the page that r comes from may talk to the
// server. It always sets Vary, as the answer depends on Origin even if r has none (RFC 9110,
// section 12.5.5).
func (h *Handler) share(w http.ResponseWriter, r *http.Request) bool {
	header := w.Header()
	header.Add("Vary", "Origin")
	if !h.originAllowed(r) {
		return false
	}
	origins := r.Header["Origin"]
	if len(origins) == 0 {
		return true
	}
	header.Set("Access-Control-Allow-Origin", origins[0])
	header.Set("Access-Control-Allow-Methods", "POST, PUT")
	header.Set("Access-Control-Allow-Credentials", "true")
	header.Set("Access-Control-Allow-Headers",
		"DNT,User-Agent,X-Requested-With,Content-Type,Cache-Control,Last-Event-ID")
	return true
}

func (h *Handler) originAllowed(r *http.Request) bool {
	if h.CheckOrigin != nil {
		return h.CheckOrigin(r)
	}
	return handlers.SameOrigin(r)
}
