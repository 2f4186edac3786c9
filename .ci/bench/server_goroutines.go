package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"net"
	"time"
)

// serveGoroutines echoes lines with the standard library alone. If the protocol is mixed, the first
// byte of a connection shows whether it is TLS, HTTP or lines.
func serveGoroutines(e endpoint) error {
	l := e.secured()
	if e.proto != mixed {
		return acceptAll(l, echoLines)
	}
	web := &handedListener{Listener: l, conns: make(chan net.Conn)}
	go func() { fail("net/http", newNetHTTP().Serve(web)) }() // ends with the process
	return acceptAll(l, func(c net.Conn) {
		p := &peeked{Conn: c, r: bufio.NewReader(c)}
		first, err := p.r.Peek(1)
		switch {
		case err != nil:
			c.Close()
		case first[0] == 0x16: // a ClientHello
			echoLines(tls.Server(p, e.tls))
		case first[0] == 'G':
			web.conns <- p
		default:
			echoLines(p)
		}
	})
}

// acceptAll serves each connection in a goroutine.
func acceptAll(l net.Listener, serve func(net.Conn)) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go serve(c) // ends with the connection
	}
}

func echoLines(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) { // of a long line each part is echoed
			return
		}
		time.Sleep(sleepOf(len(line) - 1))
		if _, err := c.Write(line); err != nil {
			return
		}
	}
}

// A peeked is a connection whose first bytes are in r.
type peeked struct {
	net.Conn
	r *bufio.Reader
}

func (p *peeked) Read(b []byte) (int, error) { return p.r.Read(b) }

// A handedListener accepts the connections that it is handed.
type handedListener struct {
	net.Listener
	conns chan net.Conn
}

func (l *handedListener) Accept() (net.Conn, error) { return <-l.conns, nil }
