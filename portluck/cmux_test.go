package portluck

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
)

// A connection that is in cmux when the root is closed still arrives: Accept fails only after a
// route has taken it. TRAPS part 1, row 5.
func TestTraps1Row05RootWaitsForWhatIsInTransit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoot()
		for range 2 {
			if !r.push(&conn{}) {
				t.Fatal("push() = false")
			}
		}
		r.Close()
		if r.push(&conn{}) {
			t.Error("push() = true after Close")
		}
		for range 2 {
			if _, err := r.Accept(); err != nil {
				t.Errorf("Accept() = %v, want what was pushed before", err)
			}
		}
		done := make(chan error, 1)
		go func() {
			_, err := r.Accept()
			done <- err
		}()
		r.taken()
		synctest.Wait()
		select {
		case err := <-done:
			t.Errorf("Accept() = %v while one is in transit", err)
		default:
		}
		r.taken()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept() = %v, want net.ErrClosed", err)
		}
	})
}
