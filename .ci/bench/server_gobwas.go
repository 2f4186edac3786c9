package main

import (
	"bufio"
	"io"
	"net"
	"sync"

	"github.com/gobwas/ws"
)

// serveGobwas has the handshake, the headers and the cipher of gobwas/ws, and a goroutine for each
// connection.
func serveGobwas(e endpoint) error {
	l := e.secured()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() { // ends with the connection
			defer c.Close()
			if _, err := ws.Upgrade(c); err == nil {
				_ = echoFrames(c) // the client is gone
			}
		}()
	}
}

// readers pools the readers of connections.
var readers = sync.Pool{New: func() any { return bufio.NewReader(nil) }}

func echoFrames(c net.Conn) error {
	r := readers.Get().(*bufio.Reader)
	defer readers.Put(r)
	r.Reset(c)
	var buf []byte
	for {
		h, err := ws.ReadHeader(r)
		if err != nil {
			return err
		}
		begin := ws.HeaderSize(ws.Header{Length: h.Length})
		if need := begin + int(h.Length); cap(buf) < need {
			buf = make([]byte, need)
		}
		out := frameBuffer(buf[:0])
		if err := ws.WriteHeader(&out, ws.Header{Fin: h.Fin, OpCode: h.OpCode, Length: h.Length}); err != nil {
			return err
		}
		buf = out[:begin+int(h.Length)]
		if _, err := io.ReadFull(r, buf[begin:]); err != nil {
			return err
		}
		ws.Cipher(buf[begin:], h.Mask, 0)
		if _, err := c.Write(buf); err != nil {
			return err
		}
	}
}

// frameBuffer is an io.Writer to a slice.
type frameBuffer []byte

func (b *frameBuffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}
