package handlers

import "sync/atomic"

// A Budget bounds the memory that messages take while they are not whole, for all clients that
// share it. Who asks for more than is left is refused with [ErrOverload]; who holds memory keeps
// it. Its zero value is ready. Any goroutine may call its methods. Those of a nil Budget refuse
// nothing.
type Budget struct {
	// Max is how many bytes may be held in all; 256 MiB if zero, no bound if negative. It is not
	// changed in use.
	Max int64

	held    atomic.Int64
	refused atomic.Uint64
}

// Take takes n bytes, or gives -n back. It reports false, and takes nothing, when so many are not
// left.
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

// Force takes n bytes, also when they are not left. It is for what is given back before the next
// Read: the end of a message that holds memory already may have come.
func (b *Budget) Force(n int) {
	if b != nil {
		b.held.Add(int64(n))
	}
}

// Refuse counts a client that is refused, and returns [ErrOverload].
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
