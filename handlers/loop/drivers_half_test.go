package loop

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// halfOpen is a connection whose peer has sent one byte and FIN.
func halfOpen(t *testing.T, r *rig) (Conn, *recorder, peer) {
	t.Helper()
	c, rec, client := r.stream(t)
	end := make(chan struct{})
	rec.onMessage = func(m handlers.Message) error {
		if m.String() == "<end>" {
			close(end)
		}
		return nil
	}
	start(c, rec)
	mustWrite(t, client, "a")
	client.CloseWrite()
	<-end
	return c, rec, client
}

// A peer that has sent FIN still gets what the program writes, until the program ends the
// connection. The program learns of the FIN once.
func TestDriversHalfOpen(t *testing.T) {
	tests := []struct {
		name string
		act  func(t *testing.T, r *rig, c Conn, client peer)
		last string
	}{
		{"the program writes and ends", func(t *testing.T, _ *rig, c Conn, client peer) {
			long := strings.Repeat("x", 3<<20)
			c.Send([]byte(long), handlers.Auto)
			go func() { // ends when it is read
				c.Send([]byte("bye"), handlers.Auto)
				c.End()
			}()
			if got, err := io.ReadAll(client); string(got) != long+"bye" || err != nil {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
		}, "disconnect <nil>"},
		{"the program destroys it", func(_ *testing.T, _ *rig, c Conn, _ peer) { c.Destroy() }, "disconnect <nil>"},
		{"the loop shuts down", func(t *testing.T, r *rig, _ Conn, _ peer) {
			if err := r.Shutdown(t.Context(), 0); err != nil {
				t.Errorf("Shutdown() = %v", err)
			}
		}, "disconnect " + handlers.ErrShutdown.Error()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			eachDriver(t, noBounds, func(t *testing.T, r *rig) {
				c, rec, client := halfOpen(t, r)
				tt.act(t, r, c, client)
				wantEvents(t, rec, "connect", "a", "<end>", tt.last)
			})
		})
	}
}

// A half-open connection ends when its peer is gone.
func TestDriversHalfOpenGone(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := halfOpen(t, r)
		if tc, ok := client.(*tls.Conn); ok {
			tc.NetConn().(*net.TCPConn).SetLinger(0)
			tc.NetConn().Close()
		} else {
			client.(*net.TCPConn).SetLinger(0)
			client.Close()
		}
		for c.Send([]byte("x"), handlers.Auto) == nil { // the goroutine driver notices by writing
			time.Sleep(time.Millisecond)
		}
		<-rec.gone
		if last := rec.events()[3]; !strings.Contains(last, "broken pipe") && !strings.Contains(last, "reset") {
			t.Errorf("last event %q, want an error", last)
		}
	})
}
