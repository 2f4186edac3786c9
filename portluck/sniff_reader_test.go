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
		r.bound(time.Now().Add(time.Second)) // a shutdown, after Take
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

// Take gets the connection at once, however soon after Park it is called.
func TestReaderTakeAfterPark(t *testing.T) {
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			a, b := net.Pipe()
			defer b.Close()
			defer a.Close()
			in := &replayConn{Conn: a}
			c := &conn{sniffing: &sniffing{}, pending: &announced{}}
			r := &reader{port: &port{srv: &Server{Timeout: time.Hour}}, conn: c, in: in}
			begin := time.Now()
			r.Park()
			if !r.Take() {
				t.Fatal("Take() = false")
			}
			if took := time.Since(begin); took != 0 {
				t.Fatalf("Take() took %v", took)
			}
		})
	}
}
