package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// wsPeer is a WebSocket connection. It sends text messages.
type wsPeer struct {
	net.Conn
	r     wsutil.Reader
	limit int64

	// pong is the body of a pong to send. A newer one replaces it (RFC 6455, section 5.5.3).
	pong atomic.Pointer[[]byte]

	mu   sync.Mutex // guards done and writing: messages and pongs come from two goroutines
	done bool       // our close frame is sent
}

func dialWebSocket(ctx context.Context, u *url.URL, config *tls.Config) (peer, error) {
	d := ws.Dialer{TLSConfig: config, Timeout: dialTime}
	c, early, _, err := d.Dial(ctx, u.String())
	if err != nil {
		var status ws.StatusError
		if errors.As(err, &status) {
			return nil, fmt.Errorf("%s: the server refused the handshake with status %d", u, int(status))
		}
		return nil, err
	}
	if early != nil {
		return newWSPeer(c, early, maxMessage), nil
	}
	return newWSPeer(c, c, maxMessage), nil
}

// newWSPeer returns a peer on c. It reads from r, which is c or begins with bytes already read
// from c.
func newWSPeer(c net.Conn, r io.Reader, limit int64) *wsPeer {
	p := &wsPeer{Conn: c, limit: limit}
	p.r = wsutil.Reader{
		Source: r, State: ws.StateClientSide, CheckUTF8: true, MaxMessageSize: limit, OnIntermediate: p.control,
	}
	return p
}

func (p *wsPeer) send(msg string) error { return p.write(ws.OpText, []byte(msg)) }
func (p *wsPeer) close() error          { return p.Conn.Close() }
func (p *wsPeer) end() error            { return p.sendClose(ws.StatusNormalClosure) }

func (p *wsPeer) sendClose(code ws.StatusCode) error {
	return p.write(ws.OpClose, ws.NewCloseFrameBody(code, ""))
}

func (p *wsPeer) write(op ws.OpCode, b []byte) error {
	p.mu.Lock()
	err := p.writeLocked(op, b)
	p.mu.Unlock()
	p.sendPong()
	return err
}

func (p *wsPeer) writeLocked(op ws.OpCode, b []byte) error {
	if p.done {
		return net.ErrClosed
	}
	p.done = op == ws.OpClose
	return wsutil.WriteClientMessage(p.Conn, op, b)
}

// sendPong sends the pong that waits, if any. While a message is being sent it leaves the pong to
// the sender of that message and does not wait: receiving must go on, or two peers that only send
// would block each other.
func (p *wsPeer) sendPong() {
	for p.pong.Load() != nil && p.mu.TryLock() {
		if body := p.pong.Swap(nil); body != nil {
			_ = p.writeLocked(ws.OpPong, *body) // receive will fail too
		}
		p.mu.Unlock()
	}
}

func (p *wsPeer) receive() (string, error) {
	for {
		h, err := p.r.NextFrame()
		if err != nil {
			return "", p.ended(err)
		}
		if h.OpCode.IsControl() {
			if err := p.control(h, &p.r); err != nil {
				return "", p.ended(err)
			}
			continue
		}
		body, err := io.ReadAll(&p.r)
		if err != nil {
			return "", p.ended(err)
		}
		return string(body), nil
	}
}

// control answers a control frame: a ping with a pong, a close frame with a close frame.
func (p *wsPeer) control(h ws.Header, r io.Reader) error {
	body, err := io.ReadAll(r) // at most 125 bytes
	switch {
	case err != nil:
		return err
	case int64(len(body)) < h.Length:
		return io.ErrUnexpectedEOF
	}
	switch h.OpCode {
	case ws.OpPing:
		p.pong.Store(&body)
		p.sendPong()
	case ws.OpClose:
		return p.closed(body)
	}
	return nil
}

// closed answers a close frame with the same code. Its error has the code and the reason.
func (p *wsPeer) closed(body []byte) error {
	code, reason := ws.StatusNoStatusRcvd, ""
	if len(body) > 0 {
		code, reason = ws.ParseCloseFrameData(body)
		if !mayBeSent(code) || !utf8.ValidString(reason) {
			return ws.ProtocolError("the close frame is not valid")
		}
	}
	_ = p.write(ws.OpClose, body[:min(2, len(body))]) // the server may have gone already
	return wsutil.ClosedError{Code: code, Reason: reason}
}

// mayBeSent reports whether a close frame may have this code (RFC 6455, section 7.4, and IANA's
// registry).
func mayBeSent(code ws.StatusCode) bool {
	return 1000 <= code && code <= 1003 || 1007 <= code && code <= 1014 || 3000 <= code && code <= 4999
}

// ended returns the reason why receiving ended: io.EOF after a normal close frame. If the server
// has broken the protocol, ended sends it a close frame that says how.
func (p *wsPeer) ended(err error) error {
	var closed wsutil.ClosedError
	switch {
	case errors.As(err, &closed):
		return closeReason(closed)
	case errors.Is(err, wsutil.ErrMessageTooLarge):
		_ = p.sendClose(ws.StatusMessageTooBig)
		return fmt.Errorf("a message is longer than %d bytes", p.limit)
	case errors.Is(err, wsutil.ErrInvalidUTF8):
		_ = p.sendClose(ws.StatusInvalidFramePayloadData)
		return errors.New("a text message is not UTF-8")
	case errors.As(err, new(ws.ProtocolError)), errors.Is(err, ws.ErrHeaderLengthMSB):
		_ = p.sendClose(ws.StatusProtocolError)
		return fmt.Errorf("the server broke the protocol: %w", err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the server has closed without a close frame")
	}
	return err
}

// closeReason returns the error for a close frame: io.EOF for a normal one.
func closeReason(c wsutil.ClosedError) error {
	switch c.Code {
	case ws.StatusNormalClosure, ws.StatusNoStatusRcvd, ws.StatusGoingAway:
		return io.EOF
	}
	if c.Reason == "" {
		return fmt.Errorf("the server closed with code %d", c.Code)
	}
	return fmt.Errorf("the server closed with code %d: %q", c.Code, c.Reason)
}
