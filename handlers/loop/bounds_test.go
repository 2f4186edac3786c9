package loop

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/boundtest"
)

// Zero is the default of a bound, and a negative value means no bound.
func TestBounds(t *testing.T) {
	boundtest.Check(t, []string{"Driver", "Timeout", "HandshakeTimeout", "MessageTimeout", "PingInterval"},
		boundtest.Field("CloseTimeout", int64(closeWait), boundtest.None, func(l *Loop) int64 { return int64(l.closeTimeout()) }),
		boundtest.Field("MaxQueue", 1<<20, boundtest.None, func(l *Loop) int64 { return int64(l.maxQueue()) }),
	) // TestBoundsOfWaits and, with epoll, TestDeadlines test the last four
}

// A wait for a peer is not bounded if its field is zero or negative.
func TestBoundsOfWaits(t *testing.T) {
	hears := func(codec handlers.Codec, shakes bool, sends string) func(l *Loop) int64 {
		return func(l *Loop) (after int64) {
			synctest.Test(t, func(t *testing.T) {
				server, client := net.Pipe()
				defer client.Close()
				start(l.New(&fakeConn{nc: server}, handlers.Attachment{Codec: codec, Handshake: shakes}), newRecorder())
				if _, err := io.WriteString(client, sends); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				_ = client.SetReadDeadline(began.Add(24 * time.Hour))
				_, err := client.Read(make([]byte, 1)) // a ping, or the end
				if errors.Is(err, os.ErrDeadlineExceeded) {
					after = boundtest.None
					return
				}
				after = int64(time.Since(began).Truncate(time.Second)) // pings are up to an eighth late
			})
			return after
		}
	}
	boundtest.Check(t, []string{"Driver", "CloseTimeout", "MaxQueue"},
		boundtest.Field("Timeout", boundtest.None, boundtest.None, hears(&lines{}, false, ".\n")),
		boundtest.Field("HandshakeTimeout", boundtest.None, boundtest.None, hears(&lines{}, true, ".")),
		boundtest.Field("MessageTimeout", boundtest.None, boundtest.None, hears(&gathering{}, false, ".")),
		boundtest.Field("PingInterval", boundtest.None, boundtest.None, hears(&pings{}, false, ".\n")),
	) // TestBounds
}

// The wait for the answer to a farewell is bounded, even without CloseTimeout.
func TestQuitTime(t *testing.T) {
	for _, l := range []*Loop{{}, {CloseTimeout: -1}, {CloseTimeout: 2 * closeWait}} {
		if got := l.quitTime(); got != closeWait {
			t.Errorf("CloseTimeout %v: quitTime() = %v, want %v", l.CloseTimeout, got, closeWait)
		}
	}
}

// Without a bound any number of bytes may wait for a peer that does not read.
func TestDriversUnboundedQueue(t *testing.T) {
	eachDriver(t, func() *Loop { return &Loop{MaxQueue: -1} }, func(t *testing.T, r *rig) {
		c, rec, _ := r.connect(t, handlers.Attachment{Codec: &lines{}})
		start(c, rec)
		part := bytes.Repeat([]byte("."), 1<<20)
		for i := range 16 {
			if err := c.TrySend(part, handlers.Auto); err != nil {
				t.Errorf("TrySend() of MiB %d = %v", i, err)
				break
			}
		}
		c.Destroy()
		<-rec.gone
	})
}
