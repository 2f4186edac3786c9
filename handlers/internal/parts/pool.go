// Package parts keeps the beginnings of incomplete messages in buffers whose capacity a
// [handlers.Budget] counts.
package parts

import (
	"math/bits"
	"sync"
	"unsafe"
)

// The size of a buffer is a power of two, at least 256 bytes. Buffers of 64 KiB and more have slack
// for the framing of a message: a message as long as a limit that is a power of two does not need
// twice its size.
const (
	least = 8  // bits
	large = 16 // bits of the smallest buffer with slack
	most  = 20 // bits of the largest buffer that is reused
	slack = 8 << 10
)

// pools hold a pointer to the first byte of each buffer: a pointer to its slice would need an
// allocation.
var pools [most - least + 1]sync.Pool

// class returns the smallest class whose buffers have n bytes or more.
func class(n int) int {
	k := max(bits.Len(uint(max(n, 1)-1)), least)
	if k > large && n <= 1<<(k-1)+slack {
		k--
	}
	return k
}

func sizeOf(class int) int {
	if class >= large {
		return 1<<class + slack
	}
	return 1 << class
}

// Size returns the capacity of the buffer that Get(n) returns.
func Size(n int) int { return sizeOf(class(n)) }

// Get returns an empty buffer for n bytes or more.
func Get(n int) []byte {
	k := class(n)
	if k <= most {
		if p, ok := pools[k-least].Get().(*byte); ok {
			return unsafe.Slice(p, sizeOf(k))[:0]
		}
	}
	return make([]byte, 0, sizeOf(k))
}

// Put makes a buffer of Get available again. The caller must not use it afterwards. Other buffers
// are left to the garbage collector.
func Put(b []byte) {
	if k := class(cap(b)); k <= most && cap(b) == sizeOf(k) {
		pools[k-least].Put(unsafe.SliceData(b))
	}
}

// Append is like the builtin append for dst, a buffer of Get or nil. If dst is too short, Append
// copies it to a longer buffer and puts dst back.
func Append(dst, p []byte) []byte {
	if n := len(dst) + len(p); n > cap(dst) {
		old := dst
		dst = append(Get(n), old...)
		Put(old)
	}
	return append(dst, p...)
}
