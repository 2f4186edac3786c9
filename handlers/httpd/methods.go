package httpd

import (
	"io"
	"net/http"
	"strings"
)

// refuseMethod answers a request whose method is not served at its target.
func (h *Handler) refuseMethod(w http.ResponseWriter, r *http.Request, l *httpConn) {
	pace := h.writeDeadline(w, r)
	pace.begin()
	allowed := h.methods(r, l)
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	w.Header()["Content-Type"] = contentType
	if r.Method == http.MethodConnect && r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
	w.WriteHeader(http.StatusMethodNotAllowed)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, refusedMethod(allowed))
	}
}

// refusedMethod returns a sentence that names the allowed methods, without OPTIONS.
func refusedMethod(allowed []string) string {
	n := len(allowed)
	if n > 0 && allowed[n-1] == http.MethodOptions {
		n--
	}
	switch n {
	case 0:
		return "No method is allowed."
	case 1:
		return "The allowed method is " + allowed[0] + "."
	}
	return "Allowed methods are " + strings.Join(allowed[:n-1], ", ") + " or " + allowed[n-1] + "."
}

// methods returns the methods that are served at the target of r (RFC 9110, section 10.2.1). Of the
// methods that Pages answers it lists only GET and HEAD.
func (h *Handler) methods(r *http.Request, l *httpConn) []string {
	named := r.Method != http.MethodConnect && r.RequestURI != "*" // its target is a path
	var served []string
	for _, method := range []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
	} {
		asked := *r
		asked.Method = method
		if h.serves(&asked) || named && (h.isMounted(&asked) || method != r.Method && h.isStreamed(&asked, l)) {
			served = append(served, method)
		}
	}
	return served
}

// serves reports whether r is served whatever its target is.
func (h *Handler) serves(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return h.Pages != nil
	case http.MethodPost, http.MethodPut, http.MethodOptions:
		return h.Pages == nil || h.Claim == nil || !h.Claim(r)
	}
	return false
}

// isMounted reports whether a pattern of Mux matches r.
func (h *Handler) isMounted(r *http.Request) bool {
	if h.Mux == nil {
		return false
	}
	_, pattern := h.Mux.Handler(r)
	return pattern != ""
}

// isStreamed reports whether Streams would serve r if r asked for events.
func (h *Handler) isStreamed(r *http.Request, l *httpConn) bool {
	if h.Streams == nil || r.Method != http.MethodGet {
		return false
	}
	r.Header = r.Header.Clone()
	r.Header.Set("Accept", "text/event-stream")
	info := requestInfo(r, l)
	return h.Streams(r, &info) != nil
}
