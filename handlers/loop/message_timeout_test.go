package loop

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// drip writes s a byte at a time until the connection is closed. It returns how long that took.
func drip(w io.Writer, s string, every time.Duration) time.Duration {
	began := time.Now()
	for i := 0; ; i = (i + 1) % len(s) {
		if _, err := io.WriteString(w, s[i:i+1]); err != nil {
			return time.Since(began)
		}
		time.Sleep(every)
	}
}

// gathering is a codec that keeps the beginning of a message itself.
type gathering struct{ lines }

func (*gathering) Decode(in []byte, m *handlers.Messages) (int, error) {
	m.Partial = len(in) > 0
	return len(in), nil
}

// A message that is dripped ends its client by MessageTimeout, on every driver: TRAPS part 3, row 9, and part 4, row 22.
func TestTraps4Row22MessageTimeout(t *testing.T) {
	const timeout = 200 * time.Millisecond
	for _, idle := range []time.Duration{0, time.Minute} {
		l := func() *Loop { return &Loop{MessageTimeout: timeout, Timeout: idle} }
		eachDriver(t, l, func(t *testing.T, r *rig) {
			for _, codec := range []handlers.Codec{&lines{}, &gathering{}} {
				c, rec, client := r.connect(t, handlers.Attachment{Codec: codec})
				start(c, rec)
				if got := drip(client, "x", 10*time.Millisecond); got < timeout || got > 10*timeout {
					t.Errorf("%T: ended after %v, want %v", codec, got, timeout)
				}
				client.Close()
				wantEvents(t, rec, "connect", "disconnect "+handlers.ErrTimeout.Error())
			}
		})
	}
}

// Each message has its own time, also when the end of one comes with the beginning of the next.
func TestMessageTimeoutOfEach(t *testing.T) {
	const timeout = 300 * time.Millisecond
	eachDriver(t, func() *Loop { return &Loop{MessageTimeout: timeout} }, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		start(c, rec)
		for began := time.Now(); time.Since(began) < 3*timeout; time.Sleep(20 * time.Millisecond) {
			mustWrite(t, client, "tail\nhead")
		}
		mustWrite(t, client, "\n")
		time.Sleep(2 * timeout) // between two messages there is no bound
		mustWrite(t, client, "last\n")
		client.Close()
		<-rec.gone
		all := rec.events()
		if got := all[len(all)-2:]; got[0] != "last" || got[1] != "disconnect <nil>" {
			t.Errorf("the last events are %q", got)
		}
	})
}

func TestMessageTimeout(t *testing.T) {
	tests := []struct {
		name          string
		idle, message time.Duration
		drips         string
		want          time.Duration
	}{
		{"a message that has no end", time.Minute, 5 * time.Minute, "x", 5 * time.Minute},
		{"no idle timeout", 0, 5 * time.Minute, "x", 5 * time.Minute},
		{"silence in a message", 20 * time.Second, 5 * time.Minute, "x", 20 * time.Second},
		{"short messages", 20 * time.Second, time.Minute, "x\n", 20 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := Loop{Timeout: tt.idle, MessageTimeout: tt.message}
				c, rec, client := pipe(&l)
				began := time.Now()
				start(c, rec)
				drip(client, tt.drips, 30*time.Second)
				<-rec.gone
				if got := time.Since(began).Truncate(30 * time.Second); got != tt.want.Truncate(30*time.Second)+30*time.Second && got != tt.want {
					t.Errorf("gone after %v, want %v", got, tt.want)
				}
				if all := rec.events(); all[len(all)-1] != "disconnect "+handlers.ErrTimeout.Error() {
					t.Errorf("the last event is %q", all[len(all)-1])
				}
			})
		})
	}
}
