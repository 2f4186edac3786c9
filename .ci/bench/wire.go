package main

import (
	"bytes"
	"encoding/binary"

	"github.com/gobwas/ws"
)

// The first byte of a message says what the server does with it: all else is echoed.
const (
	tagEcho    = 'e'
	tagJoin    = 'j' // echoed too; the connection becomes a member
	tagPublish = 'p' // sent to all members
)

// message is one of this size.
func message(tag byte, size int) []byte {
	b := bytes.Repeat([]byte{'.'}, size)
	b[0] = tag
	return b
}

// isSecure says whether proto is TLS.
func isSecure(proto string) bool { return proto == "tls" || proto == "wss" }

// isWebSocket says whether proto has frames; else it has lines.
func isWebSocket(proto string) bool { return proto == "ws" || proto == "wss" }

// frame is a message of this size as a client sends it.
func frame(proto string, tag byte, size int) []byte {
	msg := message(tag, size)
	if !isWebSocket(proto) {
		return append(msg, '\n')
	}
	f := ws.MaskFrameInPlaceWith(ws.NewTextFrame(msg), [4]byte{0x5a, 0xc3, 0x96, 0x0f})
	return ws.MustCompileFrame(f)
}

// framed is how long a message of this size is when a server sends it, but for what ends a line.
func framed(proto string, size int) int {
	if !isWebSocket(proto) {
		return size
	}
	return ws.HeaderSize(ws.Header{Length: int64(size)}) + size
}

// reply finds the first message in what a server has sent: its payload, and its length on the wire. That is 0 if it is
// not complete.
func reply(proto string, b []byte) (payload []byte, length int) {
	if !isWebSocket(proto) {
		end := bytes.IndexByte(b, '\n')
		return bytes.TrimSuffix(b[:max(end, 0)], []byte{'\r'}), end + 1
	}
	begin, size, ok := parseHeader(b)
	if !ok || begin+size > len(b) {
		return nil, 0
	}
	return b[begin : begin+size], begin + size
}

// parseHeader finds where the payload of the first frame begins, and its size.
func parseHeader(b []byte) (begin, size int, ok bool) {
	if len(b) < 2 {
		return 0, 0, false
	}
	begin, size = 2, int(b[1]&0x7f)
	switch {
	case size == 126 && len(b) >= 4:
		begin, size = 4, int(binary.BigEndian.Uint16(b[2:]))
	case size == 127 && len(b) >= 10:
		begin, size = 10, int(binary.BigEndian.Uint32(b[6:])) // no message here is longer
	case size >= 126:
		return 0, 0, false
	}
	if b[1]&0x80 != 0 {
		begin += 4
	}
	return begin, size, true
}

// handshake is a WebSocket client's.
const handshake = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

// endOfHeader ends a handshake.
const endOfHeader = "\r\n\r\n"
