package httpd

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/portluck/portluck/handlers"
)

// stride is the number of bytes of a page that are written under one deadline. A client that takes
// longer than IdleTimeout for them is considered dead.
const stride = 256 << 10

// page answers r with pages, and bounds the waits for the client.
func (h *Handler) page(w http.ResponseWriter, r *http.Request, l *httpConn, pages http.Handler) {
	p := &page1{page: page{ResponseWriter: w, pace: h.writeDeadline(w, r)}, conn: l}
	if r.ContentLength != 0 && p.pace.idle > 0 {
		bounded := *r
		bounded.Body = &pageBody{ReadCloser: r.Body, pace: &p.pace}
		r = &bounded
	}
	if r.ProtoMajor != 1 {
		pages.ServeHTTP(&p.page, r)
		p.pace.begin()
		return
	}
	pages.ServeHTTP(p, r)
	if !p.hijacked {
		p.pace.begin()
	}
}

// pageBody gives the client IdleTimeout for each Read.
type pageBody struct {
	io.ReadCloser
	pace *writeDeadline
	set  time.Time
}

func (b *pageBody) Read(p []byte) (int, error) {
	if now := time.Now(); now.Sub(b.set) >= b.pace.idle/8 {
		b.set = now
		_ = b.pace.rc.SetReadDeadline(now.Add(b.pace.idle))
	}
	return b.ReadCloser.Read(p)
}

// page is the http.ResponseWriter for Pages. It keeps the optional interfaces that a handler may
// use.
type page struct {
	http.ResponseWriter
	pace writeDeadline
}

// Unwrap is for http.ResponseController.
func (p *page) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// Flush is http.Flusher's.
func (p *page) Flush() { _ = p.FlushError() }

// FlushError is for http.ResponseController.
func (p *page) FlushError() error {
	p.pace.begin()
	defer p.pace.end()
	return p.pace.rc.Flush()
}

// Write is io.Writer's.
func (p *page) Write(b []byte) (n int, err error) {
	defer p.pace.end()
	for {
		p.pace.begin()
		part := b[:min(len(b), stride)]
		m, err := p.ResponseWriter.Write(part)
		n += m
		if b = b[len(part):]; err != nil || len(b) == 0 {
			return n, err
		}
	}
}

// WriteString is io.StringWriter's.
func (p *page) WriteString(s string) (int, error) {
	if len(s) > stride {
		return p.Write([]byte(s))
	}
	p.pace.begin()
	defer p.pace.end()
	return io.WriteString(p.ResponseWriter, s)
}

// page1 is a page over HTTP/1.
type page1 struct {
	page
	conn     *httpConn
	hijacked bool
}

// ReadFrom is io.ReaderFrom's: files are sent with sendfile.
func (p *page1) ReadFrom(r io.Reader) (n int64, err error) {
	left := int64(-1)
	limited, _ := r.(*io.LimitedReader)
	if limited != nil {
		r, left = limited.R, limited.N
	}
	for left != 0 {
		part := &io.LimitedReader{R: r, N: stride}
		if limited != nil {
			part.N = min(stride, left)
		}
		want := part.N
		p.pace.begin()
		m, err := io.Copy(p.ResponseWriter, part)
		n += m
		if limited != nil {
			limited.N -= m
			left -= m
		}
		if err != nil || m < want {
			return n, err
		}
	}
	return n, nil
}

// Hijack is http.Hijacker's. The connection frees its MaxConns slot when it is closed.
func (p *page1) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	_, rw, err := p.pace.rc.Hijack()
	if err != nil {
		return nil, nil, err
	}
	p.hijacked = true
	p.conn.watch.fill(rw)
	conn := p.conn.conn
	nc, err := conn.NetConn()
	if err != nil {
		return nil, nil, err
	}
	switch nc := nc.(type) {
	case *net.TCPConn:
		return &hijackedTCP{nc, conn}, rw, nil
	case *tls.Conn:
		return &hijackedTLS{nc, conn}, rw, nil
	}
	return &hijacked{halves{nc}, conn}, rw, nil
}

// hijackedTCP keeps the methods of a *net.TCPConn.
type hijackedTCP struct {
	*net.TCPConn
	conn handlers.Conn
}

// Close also gives the connection's place back.
func (c *hijackedTCP) Close() error { return c.conn.Close() }

// hijackedTLS keeps the methods of a *tls.Conn.
type hijackedTLS struct {
	*tls.Conn
	conn handlers.Conn
}

// Close also gives the connection's place back.
func (c *hijackedTLS) Close() error { return c.conn.Close() }

type hijacked struct {
	halves
	conn handlers.Conn
}

// Close also gives the connection's place back.
func (c *hijacked) Close() error { return c.conn.Close() }

// halves is a connection whose sides may be closed one at a time.
type halves struct{ net.Conn }

// CloseWrite closes the server's half if the connection can do that.
func (c halves) CloseWrite() error { return handlers.CloseWrite(c.Conn) }
