// Package websocket serves WebSocket clients (RFC 6455).
//
// It does no I/O: the handshake and the frames are two codecs for the loop. A handshake that
// arrives as a request on an HTTP connection that has served others before comes in by
// [Handler.Upgrade].
//
// One WebSocket message is one message of the hub, an empty one too. Of extensions there is
// permessage-deflate (RFC 7692), if it is asked for, without context unless KeepWindow is set: an
// idle client has no window.
package websocket

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"time"

	"github.com/portluck/portluck/handlers"
)

// DefaultLimit is the Limit of a [Handler] that has none.
const DefaultLimit = 1 << 20

// A Handler serves WebSocket. Its zero value is ready. The fields are not changed once it serves.
type Handler struct {
	// Hosts are the names that are answered to, besides localhost and IP addresses; see
	// [handlers.Hosts]. A handshake for another one is answered with 421. Without any every name
	// will do, but not on loopback.
	Hosts handlers.Hosts
	// CheckOrigin reports whether the page that a handshake comes from may connect. If nil, a
	// handshake without an Origin may, and one from the same origin. If it panics the handshake is
	// answered 500.
	CheckOrigin func(r *http.Request) bool
	// Limit is the longest message in bytes; 1 MiB if zero, none if negative. A longer one ends the
	// client: close 1009.
	Limit int
	// Protocols are the subprotocols that the server speaks, the best first. A client that offers
	// none of them is served without one, as every client is if there are none. A browser that has
	// asked for one then fails the connection (RFC 6455, section 4.1).
	Protocols []string
	// CompressMin is how long a message must be, in bytes, to be compressed for clients that offer
	// permessage-deflate (RFC 7692); if zero or negative none is, and the offers are declined. What
	// is written as it is (AppendWrite), and what does not become shorter, is not compressed. Do
	// not compress a secret together with text that a stranger has chosen: the length tells.
	CompressMin int
	// KeepWindow lets clients compress a message with what they sent in earlier ones. It costs up
	// to 32 KiB for each that has sent a compressed message, of the loop's budget. Without it they
	// are asked not to, and the few that insist on it fail the connection.
	KeepWindow bool
}

var _ handlers.Handler = (*Handler)(nil)

// Serve attaches the connection to the loop, which reads the handshake.
func (h *Handler) Serve(c handlers.Conn, p handlers.Port) {
	p.Attach(c, handlers.Attachment{Codec: &handshake{handler: h, info: c.Info()}, Handshake: true})
}

// Upgrade is the handshake of a client whose HTTP connection c has served other requests before. It
// takes the connection out of net/http and attaches it; a handshake that is wrong it answers
// through w. c stands for the connection of w. HTTP/2 is refused: RFC 8441 is not supported. The
// client's Request outlives the call: its context is never done.
func (h *Handler) Upgrade(w http.ResponseWriter, r *http.Request, c handlers.Conn, p handlers.Port) {
	accepted, refusal := h.check(r, c.Info())
	if refusal != nil {
		refusal.write(w, r)
		p.Fail(h.infoOf(c.Info(), r), refusal)
		return
	}
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "this connection cannot become a WebSocket", http.StatusNotImplemented)
		p.Fail(h.infoOf(c.Info(), r), fmt.Errorf("upgrade: %w", err))
		return
	}
	unread, _ := rw.Reader.Peek(rw.Reader.Buffered())
	unread = bytes.Clone(unread) // the reader with its 4 KiB is not kept
	r = r.WithContext(context.WithoutCancel(r.Context()))
	info := h.infoOf(c.Info(), r)
	if err := greet(nc, accepted.answer); err != nil {
		c.Close()
		p.Fail(info, fmt.Errorf("upgrade: %w", err))
		return
	}
	p.Attach(c, handlers.Attachment{Codec: h.open(accepted), Info: info, Unread: unread})
}

// greet sends the answer to a handshake, which is short enough for any socket buffer.
func greet(nc net.Conn, answer []byte) error {
	if err := nc.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	_, err := nc.Write(answer)
	return errors.Join(err, nc.SetDeadline(time.Time{}))
}

// frames is the codec of an open connection. The window is that of [negotiate].
func (h *Handler) frames(window uint8) *frames { return &frames{handler: h, window: window} }

// open is the codec of a connection whose handshake was accepted.
func (h *Handler) open(a accepted) *frames {
	f := h.frames(a.window)
	f.keeps = a.keeps
	return f
}

// limit is that of a message in bytes; more than there can be if there is none.
func (h *Handler) limit() int {
	if h.Limit < 0 {
		return math.MaxInt / 2
	}
	return cmp.Or(h.Limit, DefaultLimit)
}

// infoOf describes the client whose handshake was r.
func (h *Handler) infoOf(conn *handlers.Info, r *http.Request) *handlers.Info {
	info := *conn
	info.Protocol, info.Request = handlers.ProtocolWebSocket, r
	return &info
}

// misdirected is the answer to a handshake that is for a name of somebody else.
var misdirected = &refusal{status: http.StatusMisdirectedRequest, why: handlers.HostAdvice, err: handlers.ErrHost}

// refuses says why the origin of r may not connect.
func (h *Handler) refuses(r *http.Request) (refused *refusal) {
	check := h.CheckOrigin
	if check == nil {
		check = handlers.SameOrigin
	}
	var ok bool
	if err := handlers.Guard(func() { ok = check(r) }); err != nil {
		return &refusal{
			status: http.StatusInternalServerError, why: "internal error",
			err: fmt.Errorf("CheckOrigin: %w", err),
		}
	}
	if !ok {
		return &refusal{status: http.StatusForbidden, why: "this origin may not connect", err: handlers.ErrPolicy}
	}
	return nil
}
