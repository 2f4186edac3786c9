package websocket

import (
	"net/http"
	"strings"

	"github.com/portluck/portluck/handlers"
)

// refusal is the answer to a wrong handshake, and its error.
type refusal struct {
	status int
	why    string
	err    error // handlers.ErrProtocol if nil
}

func bad(why string) *refusal { return &refusal{status: http.StatusBadRequest, why: why} }

// Error says what is wrong.
func (r *refusal) Error() string {
	if r == misdirected {
		return r.err.Error() // as for any other request
	}
	return "websocket handshake: " + r.why
}

// Unwrap returns an error of package handlers.
func (r *refusal) Unwrap() error {
	if r.err != nil {
		return r.err
	}
	return handlers.ErrProtocol
}

// fields returns the header fields of the answer. They close the connection, because the frames of
// a client that does not wait for the answer would be read as requests. 426 names the upgrade that
// is required (RFC 9110, section 15.5.22).
func (r *refusal) fields() [][2]string {
	switch r.status {
	case http.StatusMethodNotAllowed:
		return [][2]string{{"Connection", "close"}, {"Allow", http.MethodGet}}
	case http.StatusUpgradeRequired:
		return [][2]string{{"Connection", "close, Upgrade"}, {"Upgrade", "websocket"}, {"Sec-WebSocket-Version", "13"}}
	case http.StatusServiceUnavailable:
		return [][2]string{{"Connection", "close"}, {"Retry-After", "1"}}
	}
	return [][2]string{{"Connection", "close"}}
}

// append appends the answer to dst.
func (r *refusal) append(dst []byte) []byte {
	return handlers.AppendRefusal(dst, r.status, r.why, r.fields()...)
}

// write sends the answer through w.
func (r *refusal) write(w http.ResponseWriter, req *http.Request) {
	for _, field := range r.fields() {
		// HTTP/2 has neither Connection nor Upgrade.
		if req.ProtoMajor == 1 || field[0] != "Connection" && field[0] != "Upgrade" {
			// net/http closes the connection only if the first value of Connection is "close".
			w.Header()[http.CanonicalHeaderKey(field[0])] = strings.Split(field[1], ", ")
		}
	}
	http.Error(w, r.why, r.status)
}
