package loop

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/guarded/guardedtest"
)

// wildSource is a connection of the program that panics when it is asked for its net.Conn.
type wildSource struct{ fakeConn }

func (*wildSource) NetConn() (net.Conn, error) { panic("of the program") }

// A panic in a method of a connection that the program has made ends that connection, calls
// Disconnect, and does not end the process.
func TestTransportPanics(t *testing.T) {
	for _, method := range append([]string{"NetConn"}, guardedtest.Methods...) {
		for end, leave := range map[string]func(c Conn, client *net.TCPConn){
			"the client ends":   func(_ Conn, client *net.TCPConn) { _ = client.CloseWrite() },
			"the program ends":  func(c Conn, _ *net.TCPConn) { c.End() },
			"it is destroyed":   func(c Conn, _ *net.TCPConn) { c.Destroy() },
			"the client resets": func(_ Conn, client *net.TCPConn) { _ = client.SetLinger(0); client.Close() },
		} {
			t.Run(method+", "+end, func(t *testing.T) {
				t.Parallel()
				l := &Loop{Driver: Goroutines, Timeout: time.Minute, linger: time.Millisecond}
				server, client := tcpPair(t)
				var src handlers.Conn = &fakeConn{nc: &guardedtest.Conn{Conn: server, Method: method}}
				if method == "NetConn" {
					src = &wildSource{fakeConn{nc: server}}
				}
				c := l.New(src, handlers.Attachment{Codec: &lines{}})
				r := newRecorder()
				r.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
				start(c, r)
				_ = c.TrySend([]byte("hello\n"), handlers.Auto) // from another goroutine
				mustWrite(t, client, "a\n")
				leave(c, client)
				_ = client.SetReadDeadline(time.Now().Add(time.Minute))
				_, _ = io.Copy(io.Discard, client)
				client.Close()
				select {
				case <-r.gone:
				case <-time.After(time.Minute):
					t.Fatal("no Disconnect")
				}
				if method == "NetConn" && !errors.Is(r.err, handlers.ErrPanic) && end != "it is destroyed" && end != "the program ends" {
					t.Errorf("Disconnect got %v", r.err)
				}
				l.Close()
				l.Wait()
			})
		}
	}
}
