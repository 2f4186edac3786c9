package httpd

import "net/http"

// OwnCORS returns h marked for a mux of a [Handler]: h decides which pages may talk to it. It gets
// the requests of all origins, CORS preflights for its methods among them.
func OwnCORS(h http.Handler) http.Handler { return ownCORS{h} }

type ownCORS struct{ http.Handler }

// ownsCORS reports whether h was marked by OwnCORS.
func ownsCORS(h http.Handler) bool {
	_, ok := h.(ownCORS)
	return ok
}

// mounted reports whether a pattern of Mux matches r, and if so answers r with Mux. A request from
// a page of another origin is refused unless CheckOrigin allows it. GET and HEAD always reach Mux,
// as images and links do, but without the CORS headers the page cannot read the answer.
func (h *Handler) mounted(w http.ResponseWriter, r *http.Request, l *httpConn) bool {
	if h.Mux == nil || r.Method == http.MethodConnect || r.RequestURI == "*" || h.Upgrade != nil && wantsWebSocket(r) {
		return false
	}
	if asked := r.Header.Get("Access-Control-Request-Method"); r.Method == http.MethodOptions && asked != "" {
		return h.preflight(w, r, l, asked)
	}
	m, pattern := h.Mux.Handler(r)
	switch {
	case pattern == "":
		return false
	case ownsCORS(m):
		h.page(w, r, l, h.Mux)
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		h.share(w, r)
		h.page(w, r, l, h.Mux)
	case h.allow(w, r, l):
		h.page(w, r, l, h.Mux)
	}
	return true
}

// preflight answers a CORS preflight request for method if a pattern of Mux matches, and reports
// whether one does.
func (h *Handler) preflight(w http.ResponseWriter, r *http.Request, l *httpConn, method string) bool {
	wanted := *r
	wanted.Method = method
	m, pattern := h.Mux.Handler(&wanted)
	switch {
	case pattern == "":
		return false
	case ownsCORS(m) && h.isMounted(r):
		h.page(w, r, l, h.Mux)
		return true
	case ownsCORS(m): // its pattern names method
		h.page(w, r, l, m)
		return true
	}
	pace := h.writeDeadline(w, r)
	pace.begin()
	if h.allow(w, r, l) {
		w.Header().Set("Access-Control-Allow-Methods", method)
		w.WriteHeader(http.StatusOK)
	}
	return true
}

// mountedWebSocket reports whether r is the handshake of a WebSocket that a pattern of WebSockets
// matches, and if so answers it with WebSockets.
func (h *Handler) mountedWebSocket(w http.ResponseWriter, r *http.Request, l *httpConn) bool {
	if h.WebSockets == nil || !wantsWebSocket(r) {
		return false
	}
	m, pattern := h.WebSockets.Handler(r)
	if pattern == "" {
		return false
	}
	if ownsCORS(m) || h.allow(w, r, l) {
		h.page(w, r, l, h.WebSockets)
	}
	return true
}
