// Package websocket serves WebSocket clients (RFC 6455).
//
// The package does no I/O: the handshake and the frames are two codecs for the loop. If net/http
// has read the handshake, [Handler.Upgrade] takes the connection over.
//
// A WebSocket message, even an empty one, is one message of the hub. The only extension is
// permessage-deflate (RFC 7692), if Handler.CompressMin turns it on. Unless Handler.KeepWindow is
// set, it keeps no context between messages, so that an idle client needs no window.
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

// DefaultLimit is the limit of a message, in bytes, where Handler.Limit is zero: 1 MiB.
const DefaultLimit = 1 << 20

// A Handler serves WebSocket clients. The zero value is ready. The fields must not be changed once
// it serves.
type Handler struct {
	// Hosts are the host names that a handshake may ask for, besides localhost and IP addresses;
	// see [handlers.Hosts]. A handshake for another name gets 421. If empty, every name is allowed
	// except on loopback addresses.
	Hosts handlers.Hosts
	// CheckOrigin reports whether the page that a handshake comes from may connect. If nil, a
	// handshake must come from a page of the same origin or have no Origin. If CheckOrigin panics,
	// the handshake gets 500.
	CheckOrigin func(r *http.Request) bool
	// Limit is the length of the longest message in bytes; [DefaultLimit] if zero, no limit if
	// negative. A longer message ends the client with close code 1009.
	Limit int
	// Protocols are the subprotocols that the server speaks, the best first. A client that offers
	// none of them is served without a subprotocol. A browser that has offered some then fails the
	// connection (RFC 6455, section 4.1).
	Protocols []string
	// CompressMin is the length, in bytes, of the shortest message that is compressed for clients
	// that offer permessage-deflate (RFC 7692); no compression if zero or negative. Writes that are
	// not messages (AppendWrite) are not compressed, nor is a message that would not become
	// shorter. Do not compress a secret together with text that a stranger has chosen: the length
	// gives the secret away.
	CompressMin int
	// KeepWindow lets clients compress a message with the help of earlier ones. It takes up to 32
	// KiB, of the loop's budget, for each client that has sent a compressed message. Without it the
	// handshake asks clients not to. The few that insist on it fail the connection.
	KeepWindow bool
}

var _ handlers.Handler = (*Handler)(nil)

// Serve attaches c to the loop, which reads the handshake. It may be called concurrently.
func (h *Handler) Serve(c handlers.Conn, p handlers.Port) {
	p.Attach(c, handlers.Attachment{Codec: &handshake{handler: h, info: c.Info()}, Handshake: true})
}

// Upgrade answers the handshake r, which net/http has read on the connection c. It takes the
// connection out of net/http and attaches it to the loop. It refuses a wrong handshake through w.
// It also refuses HTTP/2, because RFC 8441 is not supported. The client keeps r, with a context
// that is never done.
func (h *Handler) Upgrade(w http.ResponseWriter, r *http.Request, c handlers.Conn, p handlers.Port) {
	info := h.infoOf(c.Info(), r)
	if refusal := h.check(r, c.Info()); refusal != nil {
		refusal.write(w, r)
		p.Fail(info, refusal)
		return
	}
	asked, refused := ask(r.Context(), info, p)
	if refused != nil && !closes(refused) {
		refuse(w, asked, refused)
		p.Fail(info, refused)
		return
	}
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "this connection cannot become a WebSocket", http.StatusNotImplemented)
		p.Fail(info, fmt.Errorf("upgrade: %w", err))
		return
	}
	unread, _ := rw.Reader.Peek(rw.Reader.Buffered())
	unread = bytes.Clone(unread) // so that the reader and its 4 KiB can be freed
	info = h.infoOf(c.Info(), r.WithContext(context.WithoutCancel(r.Context())))
	info.Login = asked.Login()
	accepted := h.accept(r, asked)
	if err := greet(nc, accepted.answer); err != nil {
		c.Close()
		p.Fail(info, fmt.Errorf("upgrade: %w", err))
		return
	}
	p.Attach(c, h.attachment(accepted, info, unread, refused))
}

// attachment returns what the loop needs to drive an open connection. If refused is not nil, the
// connection is closed with it before it has a client.
func (h *Handler) attachment(a accepted, info *handlers.Info, unread []byte, refused error) handlers.Attachment {
	if refused == nil {
		return handlers.Attachment{Codec: h.open(a), Info: info, Unread: unread, Admitted: true}
	}
	return handlers.Attachment{
		Codec: &refusing{h.open(a), refused}, Info: info, Unread: []byte{0}, Handshake: true, Admitted: true,
	}
}

// greet sends the answer to a handshake. Any socket buffer has room for it.
func greet(nc net.Conn, answer []byte) error {
	if err := nc.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	_, err := nc.Write(answer)
	return errors.Join(err, nc.SetDeadline(time.Time{}))
}

// frames returns the codec of an open connection with the window that negotiate returned.
func (h *Handler) frames(window uint8) *frames { return &frames{handler: h, window: window} }

// open returns the codec of a connection whose handshake was accepted.
func (h *Handler) open(a accepted) *frames {
	f := h.frames(a.window)
	f.keeps = a.keeps
	return f
}

// limit returns the limit of a message in bytes, which is out of reach if there is none.
func (h *Handler) limit() int {
	if h.Limit < 0 {
		return math.MaxInt / 2
	}
	return cmp.Or(h.Limit, DefaultLimit)
}

// infoOf returns the Info of the client whose handshake was r.
func (h *Handler) infoOf(conn *handlers.Info, r *http.Request) *handlers.Info {
	info := *conn
	info.Protocol, info.Request = handlers.ProtocolWebSocket, r
	return &info
}

// misdirected is the refusal of a handshake that asks for a host name not among Hosts.
var misdirected = &refusal{status: http.StatusMisdirectedRequest, why: handlers.HostAdvice, err: handlers.ErrHost}

// refuses returns the refusal of r if its origin may not connect, else nil.
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
