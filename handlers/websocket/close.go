package websocket

import (
	"encoding/binary"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/portluck/portluck/handlers"
)

// A CloseError is the error of OnDisconnect when a client has sent a close frame with a code other
// than 1000 (normal) and 1001 (going away).
type CloseError struct {
	Code   int // see https://www.iana.org/assignments/websocket
	Reason string
}

// ErrAbnormal is the error of OnDisconnect when a client has closed the connection without a close
// frame: code 1006 of RFC 6455, section 7.1.5. It wraps [io.ErrUnexpectedEOF].
var ErrAbnormal = fmt.Errorf("websocket: closed without a close frame: %w", io.ErrUnexpectedEOF)

// Error returns a text with the code and the reason.
func (e *CloseError) Error() string {
	return fmt.Sprintf("websocket: closed with code %d %q", e.Code, e.Reason)
}

// close handles a close frame of the peer. It answers with the same code, unless it is the peer's
// answer to ours (RFC 6455, section 5.5.1).
func (f *frames) close(body []byte, m *handlers.Messages) error {
	if len(body) == 1 {
		return protocolError("a close frame has no code of one byte")
	}
	code, reason := 0, []byte(nil)
	if len(body) > 0 {
		code, reason = int(binary.BigEndian.Uint16(body)), body[2:]
		if !handlers.ValidCloseCode(code) {
			return protocolError("the close code is not valid")
		}
		if !utf8.Valid(reason) {
			return protocolError("the close reason is not UTF-8")
		}
	}
	f.closed = true
	f.dropPart()
	if !f.sent.Swap(true) {
		m.Reply = append(appendHeader(m.Reply, ws.OpClose, min(len(body), 2)), body[:min(len(body), 2)]...)
	}
	switch code {
	case 0, int(ws.StatusNormalClosure), int(ws.StatusGoingAway):
		return io.EOF
	}
	return &CloseError{Code: code, Reason: string(reason)}
}

// AppendClose appends a close frame with the code of reason, unless one was sent before.
func (f *frames) AppendClose(dst []byte, reason error) []byte {
	if f.sent.Swap(true) {
		return dst
	}
	code, text := uint16(ws.StatusNormalClosure), ""
	if reason != nil {
		f, _ := handlers.FarewellOf(reason)
		code, text = f.Close, shorten(f.Text)
	}
	dst = appendHeader(dst, ws.OpClose, 2+len(text))
	return append(binary.BigEndian.AppendUint16(dst, code), text...)
}

// maxReason is how much of a reason a close frame has room for (RFC 6455, section 5.5).
const maxReason = 125 - 2

// shorten returns the part of text, which is UTF-8, that fits in a close frame.
func shorten(text string) string {
	if len(text) <= maxReason {
		return text
	}
	n := maxReason
	for !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
