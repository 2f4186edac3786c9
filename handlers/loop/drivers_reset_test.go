package loop

import (
	"crypto/tls"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// reset closes the peer's end so that the kernel sends RST.
func reset(p peer) {
	nc := net.Conn(p)
	if tc, ok := p.(*tls.Conn); ok {
		nc = tc.NetConn()
	}
	_ = nc.(*net.TCPConn).SetLinger(0)
	nc.Close()
}

// patient returns a loop whose timeouts are longer than a test. Whatever happens soon does not
// happen because of a timeout.
func patient() *Loop {
	return &Loop{CloseTimeout: time.Hour, linger: time.Hour, MaxQueue: 64 << 10}
}

// place counts how often a connection was closed.
type place struct {
	handlers.Conn
	closed atomic.Int32
}

func (p *place) Close() error {
	p.closed.Add(1)
	return p.Conn.Close()
}

// wantReset fails the test unless the last event of rec comes soon and has an error.
func wantReset(t *testing.T, rec *recorder) {
	t.Helper()
	goneWithin(t, time.Minute, rec)
	all := rec.events()
	if last := all[len(all)-1]; !strings.Contains(last, "reset") && !strings.Contains(last, "broken pipe") {
		t.Errorf("last event %q, want one that tells of the reset", last)
	}
}

// A client that resets its connection is disconnected at once, even while the loop is sending a
// close_notify, a farewell or a FIN.
func TestDriversReset(t *testing.T) {
	tests := []struct {
		name string
		act  func(t *testing.T, c Conn, client peer)
	}{
		{"idle", func(_ *testing.T, _ Conn, client peer) { reset(client) }},
		{"in a message", func(t *testing.T, _ Conn, client peer) {
			mustWrite(t, client, "unfinished")
			reset(client)
		}},
		{"a full queue", func(t *testing.T, c Conn, client peer) {
			newChunk(8<<10).fill(t, c)
			reset(client)
		}},
		{"a writer waits", func(t *testing.T, c Conn, client peer) {
			newChunk(8<<10).fill(t, c)
			sent := make(chan error, 1)
			go func() {
				err := error(nil)
				for err == nil {
					err = c.Send([]byte("more"), handlers.Auto)
				}
				sent <- err
			}()
			reset(client)
			<-sent
		}},
		{"ended", func(t *testing.T, c Conn, client peer) {
			c.End()
			mustRead(t, client, "bye: <nil>")
			reset(client)
		}},
		{"ended with a full queue", func(t *testing.T, c Conn, client peer) {
			newChunk(8<<10).fill(t, c)
			c.End()
			reset(client)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			eachDriver(t, patient, func(t *testing.T, r *rig) {
				server := r.server
				p := &place{}
				r.server = func(t *testing.T, nc *net.TCPConn) handlers.Conn {
					if p.Conn = server(t, nc); strings.Contains(r.name, "bare") { // which is not a net.Conn
						p.closed.Add(1)
						return p.Conn
					}
					return p
				}
				c, rec, client := r.connect(t, handlers.Attachment{Codec: &parting{}})
				rec.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
				start(c, rec)
				mustWrite(t, client, "x\n")
				mustRead(t, client, "x\n")
				tt.act(t, c, client)
				goneWithin(t, time.Minute, rec)
				r.Wait()
				if all := rec.events(); len(all) != 3 {
					t.Errorf("events %q", all)
				}
				if p.closed.Load() == 0 {
					t.Error("its place is not given back")
				}
			})
		})
	}
}

// A callback that writes notices that its client is gone. An unfinished message of the client is
// not delivered.
func TestDriversResetInCallback(t *testing.T) {
	eachDriver(t, patient, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		began, goOn := make(chan struct{}), make(chan struct{})
		rec.onMessage = func(m handlers.Message) error {
			if m.String() != "go" {
				return nil
			}
			close(began)
			<-goOn
			for c.Send([]byte("x"), handlers.Auto) == nil {
				c.Flush()
				time.Sleep(time.Millisecond)
			}
			return nil
		}
		start(c, rec)
		mustWrite(t, client, "go\n")
		<-began
		mustWrite(t, client, "whole\npay 100")
		reset(client)
		close(goOn)
		wantReset(t, rec)
		if got := strings.Join(rec.events()[:3], " "); !strings.HasPrefix(got, "connect go whole") && !strings.HasPrefix(got, "connect go disconnect") {
			t.Errorf("events %q", rec.events())
		}
		for _, e := range rec.events() {
			if e == "pay 100" {
				t.Error("half a line was delivered")
			}
		}
	})
}

// A paused connection ends when it can no longer be written to.
func TestDriversResetWhilePaused(t *testing.T) {
	eachDriver(t, patient, func(t *testing.T, r *rig) {
		c, rec, client := r.stream(t)
		paused := make(chan struct{})
		rec.onMessage = func(handlers.Message) error {
			c.Pause()
			close(paused)
			return nil
		}
		start(c, rec)
		mustWrite(t, client, "a")
		<-paused
		reset(client)
		for c.Send([]byte("x"), handlers.Auto) == nil {
			time.Sleep(time.Millisecond)
		}
		wantReset(t, rec)
	})
}

// A half-open connection ends after the server's last byte, even if the peer resets it instead of
// reading on.
func TestDriversResetHalfOpen(t *testing.T) {
	eachDriver(t, patient, func(t *testing.T, r *rig) {
		c, rec, client := halfOpen(t, r)
		reset(client)
		// The goroutine driver notices the reset only when it writes.
		for r.driver == Goroutines && c.Send([]byte("x"), handlers.Auto) == nil {
			time.Sleep(time.Millisecond)
		}
		wantReset(t, rec)
	})
}
