package httpd

import (
	"fmt"
	"net/http"

	"github.com/portluck/portluck/handlers"
)

// allow sets the CORS headers for a page that may talk to the server. For one that may not it answers 400, without an
// event of the client, and is false.
func (h *Handler) allow(w http.ResponseWriter, r *http.Request, l *link) bool {
	origins := r.Header["Origin"]
	if !h.originAllowed(r) {
		if r.ProtoMajor == 1 { // of HTTP/2 others may use the connection
			w.Header().Set("Connection", "close")
		}
		w.WriteHeader(http.StatusBadRequest)
		info := requestInfo(r, l)
		l.port.Fail(&info, fmt.Errorf("origin: %w", handlers.ErrPolicy))
		return false
	}
	if len(origins) == 0 {
		return true
	}
	header := w.Header()
	header.Set("Access-Control-Allow-Origin", origins[0])
	header.Set("Access-Control-Allow-Methods", "POST, PUT")
	header.Set("Access-Control-Allow-Credentials", "true")
	header.Set("Access-Control-Allow-Headers", "DNT,User-Agent,X-Requested-With,Content-Type")
	header.Set("Vary", "Origin")
	return true
}

func (h *Handler) originAllowed(r *http.Request) bool {
	if h.CheckOrigin != nil {
		return h.CheckOrigin(r)
	}
	return handlers.SameOrigin(r)
}
