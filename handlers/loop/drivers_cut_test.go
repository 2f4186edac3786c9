package loop

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// held is a client's connection. It can hold its writes back, and it records what it reads.
type held struct {
	*net.TCPConn
	on         bool
	kept, seen []byte
}

func (h *held) Read(p []byte) (int, error) {
	n, err := h.TCPConn.Read(p)
	h.seen = append(h.seen, p[:n]...)
	return n, err
}

// SetWriteDeadline does nothing, because CloseWrite would leave a deadline in the past.
func (h *held) SetWriteDeadline(time.Time) error { return nil }

func (h *held) Write(p []byte) (int, error) {
	if !h.on {
		return h.TCPConn.Write(p)
	}
	h.kept = append(h.kept, p...)
	return len(p), nil
}

// secure returns a driven connection with this version of TLS, its client, and the connection below
// the client, which records the client's writes from then on.
func secure(t *testing.T, r *rig, version uint16, codec handlers.Codec) (Conn, *recorder, *tls.Conn, *held) {
	t.Helper()
	server, nc := tcpPair(t)
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	src := make(chan handlers.Conn, 1)
	go func() { src <- tlsServer(t, server) }() // ends with the handshake
	h := &held{TCPConn: nc}
	client := tls.Client(h, &tls.Config{InsecureSkipVerify: true, MaxVersion: version})
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	h.on = true
	return r.New(<-src, handlers.Attachment{Codec: codec}), newRecorder(), client, h
}

// eachSecure runs f with every driver that has TLS, and every version.
func eachSecure(t *testing.T, f func(t *testing.T, r *rig, version uint16)) {
	eachDriver(t, patient, func(t *testing.T, r *rig) {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			if r.tls {
				t.Run(tls.VersionName(version), func(t *testing.T) { f(t, r, version) })
			}
		}
	})
}

// The stream of a TLS client may be cut after every byte. A message without an end of its own is
// delivered only after a close_notify, and only a close_notify is a regular end.
func TestDriversTLSEndings(t *testing.T) {
	eachSecure(t, func(t *testing.T, r *rig, version uint16) {
		for cut, size := 0, 1; cut <= size; cut++ {
			for _, rst := range []bool{false, true} {
				c, rec, client, wire := secure(t, r, version, &lines{})
				var ends []int
				for _, act := range []func(){
					func() { io.WriteString(client, "hello\n") },
					func() { io.WriteString(client, "pay 100") },
					func() { client.CloseWrite() },
				} {
					act()
					ends = append(ends, len(wire.kept))
				}
				size = ends[2]
				if cut%2 == 0 { // otherwise everything has come before the connection is driven
					start(c, rec)
				}
				mustWrite(t, wire.TCPConn, string(wire.kept[:cut]))
				if rst {
					reset(wire.TCPConn)
				} else {
					wire.CloseWrite()
				}
				if cut%2 != 0 {
					start(c, rec)
				}
				want := []string{"connect"}
				if cut >= ends[0] {
					want = append(want, "hello")
				}
				switch {
				case cut == size:
					want = append(want, "pay 100", "disconnect <nil>")
				case rst:
					want = append(want, "disconnect connection reset by peer")
				default:
					want = append(want, "disconnect "+io.ErrUnexpectedEOF.Error())
				}
				goneWithin(t, time.Minute, rec)
				got := rec.events()
				if last := got[len(got)-1]; strings.HasSuffix(last, "read: connection reset by peer") {
					// The drivers name different system calls in the error.
					got[len(got)-1] = "disconnect connection reset by peer"
				}
				if !slices.Equal(got, want) {
					t.Errorf("cut at %d of %d, reset %t: events %q, want %q", cut, ends, rst, got, want)
				}
				wire.Close()
			}
		}
	})
}

// A client that sends a close_notify, with or without FIN, and goes on reading gets its answers and
// a close_notify.
func TestDriversTLSHalfClose(t *testing.T) {
	eachSecure(t, func(t *testing.T, r *rig, version uint16) {
		for _, fin := range []bool{false, true} {
			for _, tail := range []string{"", "tail"} {
				c, rec, client, wire := secure(t, r, version, &lines{})
				rec.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
				start(c, rec)
				io.WriteString(client, "a\n"+tail)
				client.CloseWrite()
				mustWrite(t, wire.TCPConn, string(wire.kept)) // in one segment
				if fin {
					wire.CloseWrite()
				}
				answer, want := "a\n", []string{"connect", "a", "disconnect <nil>"}
				if tail != "" {
					answer, want = answer+tail+"\n", slices.Insert(want, 2, tail)
				}
				if got, err := io.ReadAll(client); string(got) != answer || err != nil {
					t.Errorf("FIN %t, %q: read %q, %v, want %q", fin, tail, got, err, answer)
				}
				wire.Close()
				wantEvents(t, rec, want...)
				if last := lastRecord(wire.seen); len(last) != alertSize(version) {
					t.Errorf("FIN %t, %q: the last record is % x, want an alert", fin, tail, last)
				}
			}
		}
	})
}

// A stream that ends without a close_notify may have been cut by anybody. It is not kept open for
// the program to write.
func TestDriversTLSCutStream(t *testing.T) {
	eachSecure(t, func(t *testing.T, r *rig, version uint16) {
		for _, good := range []bool{false, true} {
			c, rec, client, wire := secure(t, r, version, &stream{})
			rec.onMessage = func(m handlers.Message) error {
				if m.String() == "<end>" {
					return c.End()
				}
				return nil
			}
			start(c, rec)
			io.WriteString(client, "a")
			want := []string{"connect", "a", "disconnect " + io.ErrUnexpectedEOF.Error()}
			if good {
				client.CloseWrite()
				want = []string{"connect", "a", "<end>", "disconnect <nil>"}
			}
			mustWrite(t, wire.TCPConn, string(wire.kept))
			wire.CloseWrite()
			goneWithin(t, time.Minute, rec)
			if got := rec.events(); !slices.Equal(got, want) {
				t.Errorf("close_notify %t: events %q, want %q", good, got, want)
			}
			wire.Close()
		}
	})
}

// lastRecord returns the last complete record of b.
func lastRecord(b []byte) (last []byte) {
	for len(b) >= 5 {
		n := min(len(b), 5+int(binary.BigEndian.Uint16(b[3:])))
		last, b = b[:n], b[n:]
	}
	return last
}

// alertSize returns the size of an encrypted alert, with AEAD: 2 bytes and a tag; in TLS 1.3 the
// type, in TLS 1.2 a nonce.
func alertSize(version uint16) int {
	if version == tls.VersionTLS13 {
		return 5 + 2 + 1 + 16
	}
	return 5 + 8 + 2 + 16
}
