package loop

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// tlsBench returns the epoll driver with a version of TLS.
func tlsBench(version uint16) bench {
	server := func(t *testing.T, nc *net.TCPConn) handlers.Conn {
		tc := tls.Server(handlers.NewSwitch(nc), &tls.Config{
			Certificates: []tls.Certificate{certificate()}, MaxVersion: version,
		})
		if err := tc.Handshake(); err != nil {
			t.Error(err)
		}
		return &fakeConn{nc: tc}
	}
	return bench{tls.VersionName(version), Auto, true, server, 0}
}

func eachTLS(t *testing.T, l func() *Loop, f func(t *testing.T, r *rig)) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, l(), tlsBench(version))
			f(t, r)
		})
	}
}

// Large messages in both directions, with a peer that reads slowly, lose nothing.
func TestTraps3Row6TLSBackpressure(t *testing.T) {
	eachTLS(t, func() *Loop { return &Loop{MaxQueue: 64 << 10} }, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		var taken []string
		rec.onMessage = func(m handlers.Message) error {
			taken = append(taken, m.String()[:5])
			return c.Send(m.Data, m.Kind)
		}
		start(c, rec)
		const n, size = 60, 200_000
		go func() { // ends when all is written
			for i := range n {
				fmt.Fprintf(client, "%05d%s\n", i, strings.Repeat("x", size))
			}
			client.CloseWrite()
		}()
		time.Sleep(100 * time.Millisecond)
		var back []string
		buf := make([]byte, size+6)
		for i := range n {
			if _, err := io.ReadFull(client, buf); err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
			back = append(back, string(buf[:5]))
			if i%20 == 0 {
				time.Sleep(50 * time.Millisecond)
			}
		}
		if _, err := client.Read(buf); err != io.EOF {
			t.Errorf("at the end: %v, want EOF", err)
		}
		client.Close()
		goneWithin(t, time.Minute, rec)
		for i := range n {
			if want := fmt.Sprintf("%05d", i); taken[i] != want || back[i] != want {
				t.Fatalf("message %d: taken %s, returned %s", i, taken[i], back[i])
			}
		}
	})
}

// wiretap records what it reads.
type wiretap struct {
	*net.TCPConn
	mu   sync.Mutex
	seen []byte
}

func (w *wiretap) Read(p []byte) (int, error) {
	n, err := w.TCPConn.Read(p)
	w.mu.Lock()
	w.seen = append(w.seen, p[:n]...)
	w.mu.Unlock()
	return n, err
}

// A peer that has closed its half gets the answer and a close_notify. Without the close_notify the
// FIN could come from anybody (RFC 8446, section 6.1).
func TestTraps3Row6TLSHalfClose(t *testing.T) {
	eachTLS(t, noBounds, func(t *testing.T, r *rig) {
		server, nc := tcpPair(t)
		tap := &wiretap{TCPConn: nc}
		tc := tls.Client(tap, &tls.Config{InsecureSkipVerify: true})
		src := make(chan handlers.Conn, 1)
		go func() { src <- r.server(t, server) }() // ends with the handshake
		if err := tc.Handshake(); err != nil {
			t.Fatal(err)
		}
		tc.SetDeadline(time.Now().Add(time.Minute))
		c, rec := r.New(<-src, handlers.Attachment{Codec: &lines{}}), newRecorder()
		rec.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
		start(c, rec)
		mustWrite(t, tc, "a\ntail")
		tc.CloseWrite()
		nc.CloseWrite()
		if got, err := io.ReadAll(tc); string(got) != "a\ntail\n" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		wantEvents(t, rec, "connect", "a", "tail", "disconnect <nil>")
		tap.mu.Lock()
		defer tap.mu.Unlock()
		if last := lastRecord(tap.seen); len(last) != alertSize(tc.ConnectionState().Version) {
			t.Errorf("the last record is % x, want an alert", last)
		}
	})
}
