package httpd

import (
	"bufio"
	"io"
	"net"
	"net/http"

	"github.com/portluck/portluck/handlers"
)

// pageWriter is what Pages gets: w, and when a page hijacks its connection, that gives its place back when it is closed.
func pageWriter(w http.ResponseWriter, r *http.Request, c handlers.Conn) http.ResponseWriter {
	if r.ProtoMajor != 1 {
		return w
	}
	return &hijackable{ResponseWriter: w, conn: c}
}

// hijackable keeps what pages look for in an http.ResponseWriter of HTTP/1.
type hijackable struct {
	http.ResponseWriter
	conn handlers.Conn
}

// Unwrap is for http.ResponseController.
func (w *hijackable) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush is http.Flusher's.
func (w *hijackable) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// ReadFrom is io.ReaderFrom's: files are sent with sendfile.
func (w *hijackable) ReadFrom(r io.Reader) (int64, error) { return io.Copy(w.ResponseWriter, r) }

// WriteString is io.StringWriter's.
func (w *hijackable) WriteString(s string) (int, error) { return io.WriteString(w.ResponseWriter, s) }

// Hijack is http.Hijacker's.
func (w *hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if tc, ok := nc.(*net.TCPConn); ok {
		return &hijackedTCP{tc, w.conn}, rw, nil
	}
	return &hijacked{nc, w.conn}, rw, nil
}

type hijackedTCP struct {
	*net.TCPConn
	conn handlers.Conn
}

// Close also gives the connection's place back.
func (c *hijackedTCP) Close() error { return c.conn.Close() }

type hijacked struct {
	net.Conn
	conn handlers.Conn
}

// Close also gives the connection's place back.
func (c *hijacked) Close() error { return c.conn.Close() }
