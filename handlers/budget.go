package handlers

import "sync/atomic"

// A Budget bounds the memory that incomplete messages take, in total for all clients that share it.
// A client that needs more than is left is refused with [ErrOverload]; clients that already hold
// memory keep it. The zero value is ready to use. Any goroutine may call its methods. A nil Budget
// refuses nothing.
type Budget struct {
	// Max is the total number of bytes that may be held; 256 MiB if zero, no bound if negative. It
	// must not be changed while the Budget is in use.
	Max int64

	held    atomic.Int64
	refused atomic.Uint64
}

// Take takes n bytes; a negative n gives -n bytes back. It returns false and takes nothing if fewer
// than n bytes are left.
func (b *Budget) Take(n int) bool {
	if b == nil {
		return true
	}
	if n <= 0 || b.Max < 0 {
		b.held.Add(int64(n))
		return true
	}
	most := b.Max
	if most == 0 {
		most = 256 << 20
	}
	for {
		held := b.held.Load()
		if held > most-int64(n) {
			return false
		}
		if b.held.CompareAndSwap(held, held+int64(n)) {
			return true
		}
	}
}

// Force takes n bytes even if fewer are left. A reader takes the memory of its next read with it: a
// message that already holds memory may end in that read, and so must not be refused.
func (b *Budget) Force(n int) {
	if b != nil {
		b.held.Add(int64(n))
	}
}

// Refuse counts a refused client and returns [ErrOverload].
func (b *Budget) Refuse() error {
	if b != nil {
		b.refused.Add(1)
	}
	return ErrOverload
}

// Held returns how many bytes are held now.
func (b *Budget) Held() int64 { return b.held.Load() }

// Refused returns how many clients were refused.
func (b *Budget) Refused() uint64 { return b.refused.Load() }
