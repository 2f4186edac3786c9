package httpd

import (
	"net/http"
)

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

// preflight answers a CORS preflight request for method if a pattern of Mux matches, and reports
// whether one does.
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
