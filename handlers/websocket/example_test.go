package websocket_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/gobwas/ws"
	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/websocket"
)

// port takes the place of a portluck.Server: it keeps the codec of the connection that is attached.
type port struct {
	handlers.Port
	codec handlers.Codec
}

func (p *port) Attach(_ handlers.Conn, a handlers.Attachment) { p.codec = a.Codec }

// printer takes the place of the loop.
type printer struct{}

func (printer) Connect(info *handlers.Info) { fmt.Println("connect", info.Request.URL) }
func (printer) Message(m handlers.Message)  { fmt.Printf("%v message %q\n", m.Kind, m.Data) }

// A handshake, and a message through the codec that follows it.
func ExampleHandler() {
	h := &websocket.Handler{Limit: 64 << 10, Protocols: []string{"chat"}}
	p := &port{}
	h.Serve(handlers.Wrap(nil, nil, &handlers.Info{}), p)

	m := &handlers.Messages{Events: printer{}}
	request := "GET /room HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
	if _, err := p.codec.Decode([]byte(request), m); err != nil {
		fmt.Println(err)
	}
	fmt.Println(strings.TrimSpace(strings.ReplaceAll(string(m.Reply), "\r", "")))

	frames := m.Next
	var b bytes.Buffer
	_ = ws.WriteFrame(&b, ws.MaskFrame(ws.NewTextFrame([]byte("hello"))))
	if _, err := frames.Decode(b.Bytes(), m); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%q\n", frames.AppendMessage(nil, []byte("welcome"), handlers.Text))
	// Output:
	// connect /room
	// HTTP/1.1 101 Switching Protocols
	// Upgrade: websocket
	// Connection: Upgrade
	// Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
	// Sec-WebSocket-Protocol: chat
	// text message "hello"
	// "\x81\awelcome"
}

// OnDisconnect can tell how a WebSocket client has left.
func ExampleCloseError() {
	onDisconnect := func(err error) {
		var closed *websocket.CloseError
		switch {
		case errors.As(err, &closed):
			fmt.Println("closed with", closed.Code, closed.Reason)
		case errors.Is(err, websocket.ErrAbnormal):
			fmt.Println("gone without a word")
		}
	}
	onDisconnect(&websocket.CloseError{Code: 4001, Reason: "bored"})
	onDisconnect(fmt.Errorf("client 7: %w", websocket.ErrAbnormal))
	// Output:
	// closed with 4001 bored
	// gone without a word
}
