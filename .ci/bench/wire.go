package main

import (
	"encoding/binary"
	"math"
	"time"
)

// The first byte of a message says what the server does with it. The server echoes all others.
const (
	tagJoin    = 'j' // echoed too; the connection becomes a member
	tagPublish = 'p' // sent to all members: what portload publishes begins with its name
)

// mixed is the protocol of a server that has raw clients, HTTP and TLS on one port.
const mixed = "mixed"

// A message of sleepSize bytes, or a multiple up to maxSleepSize, makes the server sleep for as
// many milliseconds. The size carries the time because portload chooses nothing else of a message.
const (
	sleepSize    = 100
	maxSleepSize = 1000
)

// sleepOf returns how long the server sleeps before it echoes a message of size bytes.
func sleepOf(size int) time.Duration {
	if size < sleepSize || size > maxSleepSize || size%sleepSize != 0 {
		return 0
	}
	return time.Duration(size) * time.Millisecond
}

// isSecure reports whether proto is TLS.
func isSecure(proto string) bool { return proto == "tls" || proto == "wss" || proto == "https" }

// isWebSocket reports whether proto has frames; else it has lines.
func isWebSocket(proto string) bool { return proto == "ws" || proto == "wss" }

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
		long := binary.BigEndian.Uint64(b[2:])
		if long > math.MaxInt32 { // no message here is longer
			return 0, 0, false
		}
		begin, size = 10, int(long)
	case size >= 126:
		return 0, 0, false
	}
	if b[1]&0x80 != 0 {
		begin += 4
	}
	return begin, size, true
}

// endOfHeader ends a handshake.
const endOfHeader = "\r\n\r\n"
