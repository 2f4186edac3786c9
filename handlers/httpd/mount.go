package httpd

import (
	"net/http"
)

// mounted has Mux answer r if it has a pattern for it, and reports whether it has. What a page of
// another origin sends is refused, unless CheckOrigin allows it. What it only reads reaches Mux, as
// an image or a link does: without the CORS headers the page does not see it.
func (h *Handler) mounted(w http.ResponseWriter, r *http.Request, l *httpConn) bool {
	if h.Mux == nil || r.Method == http.MethodConnect || r.RequestURI == "*" || h.Upgrade != nil && wantsWebSocket(r) {
		return false
	}
	if asked := r.Header.Get("Access-Control-Request-Method"); r.Method == http.MethodOptions && asked != "" {
		return h.preflight(w, r, l, asked)
	}
	if !h.isMounted(r) {
		return false
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		h.share(w, r)
		h.page(w, r, l, h.Mux)
	} else if h.allow(w, r, l) {
		h.page(w, r, l, h.Mux)
	}
	return true
}

// preflight answers a page that wants to know whether it may send a request of another method to
// Mux.
func (h *Handler) preflight(w http.ResponseWriter, r *http.Request, l *httpConn, method string) bool {
	wanted := *r
	wanted.Method = method
	if !h.isMounted(&wanted) {
		return false
	}
	pace := h.writeDeadline(w, r)
	pace.begin()
	if h.allow(w, r, l) {
		w.Header().Set("Access-Control-Allow-Methods", method)
		w.WriteHeader(http.StatusOK)
	}
	return true
}
