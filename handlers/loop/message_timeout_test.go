package loop

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// drip writes s byte by byte until the connection is closed. It returns how long that took.
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
