package websocket

import (
	"net/http"
	"strings"

	"github.com/portluck/portluck/handlers"
)

// refusal is an answer to a handshake that is wrong, and the error of it.
type refusal struct {
	status int
	why    string
	err    error // ErrProtocol if nil
}

func bad(why string) *refusal { return &refusal{status: http.StatusBadRequest, why: why} }

// Error says what is wrong.
func (r *refusal) Error() string {
	if r == misdirected {
		return r.err.Error() // as of any other request
	}
	return "websocket handshake: " + r.why
}

// Unwrap is one of the errors that end a client.
func (r *refusal) Unwrap() error {
	if r.err != nil {
		return r.err
	}
	return handlers.ErrProtocol
}

// fields are those that go with the status. The connection is closed, lest frames of a client that
// does not wait for the answer be taken for requests. An upgrade that is required is named (RFC
// 9110, section 15.5.22).
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

// append appends the answer as bytes.
func (r *refusal) append(dst []byte) []byte {
	return handlers.AppendRefusal(dst, r.status, r.why, r.fields()...)
}

// write answers through net/http.
func (r *refusal) write(w http.ResponseWriter, req *http.Request) {
	for _, field := range r.fields() {
		if req.ProtoMajor == 1 || field[0] != "Connection" && field[0] != "Upgrade" { // HTTP/2 has none
			// net/http closes only if the first value of Connection is close alone.
			w.Header()[http.CanonicalHeaderKey(field[0])] = strings.Split(field[1], ", ")
		}
	}
	http.Error(w, r.why, r.status)
}
