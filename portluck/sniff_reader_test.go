package portluck

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// Take sets a deadline to get the connection. The reader does not move that deadline, even if it
// sets its own later.
func TestReaderBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer b.Close()
		defer a.Close()
		r := &reader{in: &replayConn{Conn: a}}
		wantEnd := func(after time.Duration) {
			t.Helper()
			begin := time.Now()
			if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Read() = %v, want its deadline", err)
			}
			if took := time.Since(begin); took != after {
				t.Errorf("Read() took %v, want %v", took, after)
			}
		}
		r.deadline(time.Minute)
		wantEnd(time.Minute)
		r.bound(time.Now().Add(time.Second))
		r.deadline(time.Hour)
		wantEnd(time.Second)
		r.bound(passed)
		r.bound(time.Now().Add(time.Second)) // a shutdown
		r.deadline(time.Hour)
		wantEnd(0)
		r.deadline(-1)
		wantEnd(0)
		r.release()
		r.bound(passed) // somebody else has the connection by now
		_ = a.SetDeadline(time.Now().Add(time.Minute))
		wantEnd(time.Minute)
	})
}
