package callosum

import (
	"container/heap"
	"errors"
	"fmt"
	"sync"
)

// Errors of slots.
var (
	// ErrNoSlot means that all [Slots.Max] slots are given out.
	ErrNoSlot = errors.New("no slot is free")
	// ErrSlot means that a number is no slot: it is negative, or was not given out.
	ErrSlot = errors.New("invalid slot")
	// ErrSlotTimeout means that a client did not get its slot within [Handler.SlotTimeout].
	ErrSlotTimeout = errors.New("no slot line in time")
)

// Slots gives out the lowest free number, from 0. Its zero value is ready to use. Any goroutine may
// call its methods.
type Slots struct {
	// Max bounds the slots that are given out at once; no bound if zero or negative.
	Max int

	mu    sync.Mutex
	free  lowest   // given out before and put back
	given []uint64 // a bit for each number below next that is given out
	next  int      // the lowest number that was never given out
	out   int
}

// Get gives out the lowest free slot, or returns [ErrNoSlot].
func (s *Slots) Get() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Max > 0 && s.out >= s.Max {
		return 0, ErrNoSlot
	}
	slot := s.next
	if len(s.free) > 0 {
		slot = heap.Pop(&s.free).(int)
	} else {
		s.next++
	}
	if slot/64 == len(s.given) {
		s.given = append(s.given, 0)
	}
	s.given[slot/64] |= 1 << (slot % 64)
	s.out++
	return slot, nil
}

// Put takes a slot back. It returns [ErrSlot] and changes nothing if the slot is not given out, for
// example if it is put back twice.
func (s *Slots) Put(slot int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slot < 0 || slot >= s.next || s.given[slot/64]&(1<<(slot%64)) == 0 {
		return fmt.Errorf("%w: %d", ErrSlot, slot)
	}
	s.given[slot/64] &^= 1 << (slot % 64)
	if s.out--; s.out == 0 { // then drop the memory that a crowd has left behind
		s.free, s.given, s.next = nil, nil, 0
		return nil
	}
	heap.Push(&s.free, slot)
	return nil
}

// Len returns how many slots are given out.
func (s *Slots) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out
}

// lowest is a heap whose first number is the lowest.
type lowest []int

func (l lowest) Len() int           { return len(l) }
func (l lowest) Less(i, j int) bool { return l[i] < l[j] }
func (l lowest) Swap(i, j int)      { l[i], l[j] = l[j], l[i] }
func (l *lowest) Push(x any)        { *l = append(*l, x.(int)) }

func (l *lowest) Pop() any {
	last := len(*l) - 1
	x := (*l)[last]
	*l = (*l)[:last]
	return x
}
