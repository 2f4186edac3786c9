package portluck

import (
	"crypto/tls"
	"net"
	"testing"
	"time"
)

// heldBack is a connection that keeps what it is to send after the first flight until it is let go.
type heldBack struct {
	net.Conn
	flights int
	kept    []byte
}

// Write sends the first flight, and keeps the others.
func (c *heldBack) Write(b []byte) (int, error) {
	if c.flights++; c.flights == 1 {
		return c.Conn.Write(b)
	}
	c.kept = append(c.kept, b...)
	return len(b), nil
}

// A client of HTTP/2 whose preface comes in the last segment of its handshake is not silent.
func TestPrefaceInTheLastSegment(t *testing.T) {
	t.Parallel()
	s := &Server{TLSConfig: withTLS(), SniffTimeout: 100 * time.Millisecond}
	allowHandshakes(t, s)
	addr := serve(t, s)
	below := &heldBack{Conn: dial(t, addr)}
	c := tls.Client(below, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	send(t, c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	send(t, below.Conn, string(below.kept))
	pauseFor(300 * time.Millisecond)
	below.flights = 0
	send(t, c, "\x00\x00\x08\x06\x00\x00\x00\x00\x00portluck") // PING
	got := make([]byte, 0, 1<<10)
	_ = c.SetReadDeadline(time.Now().Add(patience))
	for string(got[max(0, len(got)-8):]) != "portluck" {
		n, err := c.Read(got[len(got):cap(got)])
		if got = got[:len(got)+n]; err != nil {
			t.Fatalf("read %q, %v", got, err)
		}
	}
}
