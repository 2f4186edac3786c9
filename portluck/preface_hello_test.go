package portluck

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// heldBack is a connection that sends its first flight, and holds later writes back until it is
// released.
type heldBack struct {
	net.Conn
	flights int
	kept    []byte
}

// Write sends the first flight and keeps later writes.
func (c *heldBack) Write(b []byte) (int, error) {
	if c.flights++; c.flights == 1 {
		return c.Conn.Write(b)
	}
	c.kept = append(c.kept, b...)
	return len(b), nil
}

// A client of HTTP/2 whose preface comes in the last segment of its handshake is not silent. If the
// machine is busy for longer than SniffTimeout, the preface may be there without having been read.
func TestPrefaceInTheLastSegment(t *testing.T) {
	t.Parallel()
	for d := 100 * time.Millisecond; ; d *= 2 {
		err := sayPreface(t, d)
		if err == nil {
			return
		}
		if d > patience/4 {
			t.Fatal(err)
		}
	}
}

// sayPreface makes a client send its preface together with the end of its handshake, and a ping
// after SniffTimeout. It returns an error if the ping is not answered.
func sayPreface(t *testing.T, sniffTimeout time.Duration) error {
	t.Helper()
	s := &Server{TLSConfig: withTLS(), SniffTimeout: sniffTimeout}
	allowHandshakes(t, s)
	addr := serve(t, s)
	below := &heldBack{Conn: dial(t, addr)}
	c := tls.Client(below, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	send(t, c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	send(t, below.Conn, string(below.kept))
	pauseFor(3 * sniffTimeout)
	below.flights = 0
	// PING
	if _, err := io.WriteString(c, "\x00\x00\x08\x06\x00\x00\x00\x00\x00portluck"); err != nil {
		return err
	}
	got := make([]byte, 0, 1<<10)
	_ = c.SetReadDeadline(time.Now().Add(patience))
	for string(got[max(0, len(got)-8):]) != "portluck" {
		n, err := c.Read(got[len(got):cap(got)])
		if got = got[:len(got)+n]; err != nil {
			return fmt.Errorf("read %q, %w", got, err)
		}
	}
	return nil
}
