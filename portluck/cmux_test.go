package portluck

import (
	"errors"
	"net"
	"slices"
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

// The queue of the root keeps the order, whatever waits in it, and does not grow with what has
// passed through it.
func TestRootQueue(t *testing.T) {
	t.Parallel()
	r := newRoot()
	var in, out []*conn
	for round := range 100 {
		for range round%7 + 1 {
			c := &conn{}
			in = append(in, c)
			r.push(c)
		}
		for len(in)-len(out) > round%5 {
			c := must(r.Accept())
			out = append(out, c.(*conn))
		}
	}
	for len(out) < len(in) {
		out = append(out, must(r.Accept()).(*conn))
	}
	if !slices.Equal(out, in) {
		t.Error("the order has changed")
	}
	if n := cap(r.queue); n > 32 {
		t.Errorf("the queue has room for %d, for the 11 that waited at most", n)
	}
	for range 2 * keepQueue {
		r.push(&conn{})
	}
	for range 2 * keepQueue {
		must(r.Accept())
	}
	if n := cap(r.queue); n > keepQueue {
		t.Errorf("the queue keeps room for %d", n)
	}
}
