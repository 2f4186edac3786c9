package handlers

import (
	"context"
	"net/http"
	"time"
)

// A Handshake is a client that asks to be admitted. The program's OnHandshake sees who it is and
// decides: it returns an error to refuse the client, such as a *[Refusal], or sets the fields below
// and returns nil. A Handshake belongs to OnHandshake until that returns.
type Handshake struct {
	// Info says who the client is: its addresses, its route, the TLS state, the request, the process
	// at the other end of a Unix socket. It must not be changed. Info.Protocol is what the client
	// speaks.
	*Info
	// Protocols are the subprotocols that a WebSocket client offers, in its order.
	Protocols []string
	// Protocol is set to the one that the server chooses. If it is empty, or the client has not
	// offered it, the server chooses as without OnHandshake.
	Protocol string
	// User is set to the name of the client's user. Several clients may have the same user.
	User string
	// Header is set to fields of the response, such as Set-Cookie: of the HTTP response, also of a
	// refusal, or of the 101 of a WebSocket. It is nil for other protocols, as setting a field of a
	// nil header panics; check Request.
	Header http.Header
	// Expires is set to the time when the login ends: the client then ends with [ErrExpired]. If it
	// is zero the login does not end.
	Expires time.Time

	values map[any]any
}

// Value returns what SetValue has stored for key; nil if there is nothing.
func (h *Handshake) Value(key any) any { return h.values[key] }

// SetValue stores value for key, which must be comparable; nil removes it. The client has the value
// when it connects.
func (h *Handshake) SetValue(key, value any) {
	if value == nil {
		delete(h.values, key)
		return
	}
	if h.values == nil {
		h.values = map[any]any{}
	}
	h.values[key] = value
}

// A Login is what OnHandshake has found out about a client.
type Login struct {
	User    string      // empty for none
	Expires time.Time   // zero for never
	Values  map[any]any // of SetValue; not to be changed
}

// Login returns what h says of the client's login, or nil if that is nothing.
func (h *Handshake) Login() *Login {
	if h.User == "" && h.Expires.IsZero() && len(h.values) == 0 {
		return nil
	}
	return &Login{User: h.User, Expires: h.Expires, Values: h.values}
}

// An Admitter is a [Port] that asks the program whether to admit a client. [Port.Connect] asks by
// itself, and so does [Port.Attach] unless the [Attachment] is Admitted. A handler that must know
// the answer earlier, such as before it answers an upgrade, asks itself.
type Admitter interface {
	Port
	// Admits reports whether the program wants to be asked about clients like info. It returns at
	// once.
	Admits(info *Info) bool
	// Admit asks the program about h. It waits for the answer, up to the port's deadline, or until
	// ctx ends. The error is for [FarewellOf].
	Admit(ctx context.Context, h *Handshake) error
}
