package httpd

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// A client whose body nobody has read gets the whole answer, however late it reads it.
func TestLateReader(t *testing.T) {
	t.Parallel()
	const size = 8 << 20 // more than the kernel buffers for both
	pages := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, size)) })
	addr, _ := serve(t, &Handler{Pages: pages}, &port{})
	c := dial(t, addr)
	_ = c.Conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	c.send("PATCH / HTTP/1.1\r\nHost: x\r\nContent-Length: 8388608\r\n\r\n")
	// ends when the server has read it, or has closed
	go func() { _, _ = c.Write(make([]byte, 8<<20)) }()
	resp := c.head()
	for n := range 4 { // each part as late as a slow client reads it
		time.Sleep(lingerTime * 2 / 3)
		if got, err := io.CopyN(io.Discard, resp.Body, size/4); err != nil {
			t.Fatalf("part %d: %d bytes, %v", n, got, err)
		}
	}
}
