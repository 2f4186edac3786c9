package callosum

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// However clients come and leave, each slot is freed exactly once, and no two clients have the same
// slot at once.
func TestChurn(t *testing.T) {
	var slots Slots
	var mu sync.Mutex
	held := map[int]bool{}
	asked := 0
	h := &Handler{
		Hold: -1, LingerTimeout: 100 * time.Millisecond,
		OnSlotRequest: func(ctx context.Context) (int, error) {
			if rand.IntN(4) == 0 {
				select {
				case <-ctx.Done():
				case <-time.After(rand.N(3 * time.Millisecond)):
				}
			}
			slot, err := slots.Get()
			mu.Lock()
			defer mu.Unlock()
			asked++
			if held[slot] {
				t.Errorf("slot %d is given out twice", slot)
			}
			held[slot] = true
			return slot, err
		},
		OnSlotFree: func(slot int) {
			mu.Lock()
			defer mu.Unlock()
			if !held[slot] {
				t.Errorf("slot %d is freed twice", slot)
			}
			delete(held, slot)
			if err := slots.Put(slot); err != nil {
				t.Errorf("Put(%d) = %v", slot, err)
			}
		},
		OnConnection: func(ctx context.Context, c *Conn) {
			switch rand.IntN(4) {
			case 0:
				<-ctx.Done()
			case 1:
				c.Close()
			case 2:
				io.WriteString(c, "bye")
			default:
				io.Copy(c, c)
			}
		},
	}
	addr := serveTCP(t, h)
	const workers, turns = 20, 30
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range turns {
				leave(t, addr)
			}
		})
	}
	wg.Wait()
	eventually(t, "all have come and gone", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return asked == workers*turns && served(h) == 0 // a client that has left may not be accepted yet
	})
	if slots.Len() != 0 || len(held) != 0 {
		t.Errorf("%d slots are out", slots.Len())
	}
	if h.Given() == 0 || h.Given() > workers*turns {
		t.Errorf("%d slots were given out", h.Given())
	}
}

// leave connects and leaves in a random way.
func leave(t *testing.T, addr string) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	c := nc.(*net.TCPConn)
	_ = c.SetDeadline(time.Now().Add(patience))
	if rand.IntN(2) == 0 {
		io.WriteString(c, "unread")
	}
	if rand.IntN(2) == 0 {
		io.ReadFull(c, make([]byte, 3))
	}
	switch rand.IntN(3) {
	case 0:
		c.SetLinger(0)
	case 1:
		c.CloseWrite()
		io.Copy(io.Discard, c)
	}
	c.Close()
}
