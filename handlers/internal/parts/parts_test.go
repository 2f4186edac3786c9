package parts

import (
	"bytes"
	"errors"
	"math/bits"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/portluck/portluck/handlers"
)

func TestSize(t *testing.T) {
	for n, want := range map[int]int{
		0: 256, 1: 256, 256: 256, 257: 512, 32 << 10: 32 << 10, 32<<10 + 1: 72 << 10, 64 << 10: 72 << 10, 72 << 10: 72 << 10,
		72<<10 + 1: 136 << 10, 1 << 20: 1<<20 + 8<<10, 1<<20 + 14: 1<<20 + 8<<10, 1<<20 + 8<<10 + 1: 2<<20 + 8<<10,
	} {
		b := Get(n)
		if got := Size(n); got != want || cap(b) != want || len(b) != 0 {
			t.Errorf("Size(%d) = %d, Get has %d of %d, want %d", n, got, len(b), cap(b), want)
		}
		Put(b)
	}
	for n := range 3 << 20 {
		if size := Size(n); size < n || size > max(256, 2*n+slack) || bits.Len(uint(size)) > bits.Len(uint(n))+1 && n > 256 {
			t.Fatalf("Size(%d) = %d", n, size)
		}
	}
}

func TestPutIgnoresOthers(t *testing.T) {
	Put(nil)
	Put(make([]byte, 1000))
	for range 100 {
		if b := Get(1000); cap(b) != 1024 {
			t.Fatalf("Get(1000) has %d bytes", cap(b))
		}
	}
}

func TestAppend(t *testing.T) {
	var got []byte
	for range 1000 {
		got = Append(got, []byte("0123456789"))
	}
	if want := bytes.Repeat([]byte("0123456789"), 1000); !bytes.Equal(got, want) || cap(got) != 16<<10 {
		t.Errorf("%d bytes in a buffer of %d", len(got), cap(got))
	}
}

// A buffer is a queue of bytes, whatever their sizes. It counts its capacity while it has any.
func TestBufferKeepsOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var budget handlers.Budget
	b := Buffer{Budget: &budget}
	in, out := byte(0), byte(0)
	for range 5000 {
		p := b.Space()
		if len(p) == 0 {
			t.Fatal("no space")
		}
		n := r.IntN(len(p) + 1)
		for i := range p[:n] {
			p[i] = in
			in++
		}
		b.Filled(n)
		n = len(b.Bytes())
		if r.IntN(20) > 0 {
			n = r.IntN(n + 1)
		}
		for _, got := range b.Bytes()[:n] {
			if got != out {
				t.Fatalf("read %d, want %d", got, out)
			}
			out++
		}
		b.Took(n)
		if err := b.Keep(); err != nil {
			t.Fatal(err)
		}
		if got, left := int(budget.Held()), len(b.Bytes()); left == 0 && got != 0 || left > 0 && got != len(b.buf) || len(b.buf) < left {
			t.Fatalf("%d bytes in a buffer of %d, of which %d count", left, len(b.buf), got)
		}
		if left := len(b.Bytes()); len(b.buf) > max(keepRead, 8*left+slack) {
			t.Fatalf("%d bytes in a buffer of %d", left, len(b.buf))
		}
	}
	b.Release()
	if budget.Held() != 0 || len(b.Bytes()) != 0 {
		t.Errorf("%d bytes are held after Release", budget.Held())
	}
}

// A message that exceeds the budget may be completed by what is read next. If it is not, it is
// refused, and its memory is given back.
func TestBufferOverBudget(t *testing.T) {
	fill := func(b *Buffer) {
		b.Filled(len(b.Space()))
	}
	for _, ends := range []bool{true, false} {
		budget := handlers.Budget{Max: 10 << 10}
		b := Buffer{Budget: &budget}
		fill(&b)
		if err := b.Keep(); err != nil {
			t.Fatal(err)
		}
		fill(&b) // fills 8 KiB
		if err := b.Keep(); err != nil || budget.Held() != 8<<10 {
			t.Fatalf("Keep() = %v, %d bytes are held", err, budget.Held())
		}
		fill(&b)
		if got := budget.Held(); got != 12<<10 {
			t.Errorf("%d bytes are held, want a little more than the budget", got)
		}
		if ends {
			b.Took(len(b.Bytes()) - 1)
		}
		err := b.Keep()
		if got := errors.Is(err, handlers.ErrOverload); got == ends {
			t.Errorf("ends %t: Keep() = %v", ends, err)
		}
		if ends && budget.Held() != 256 {
			t.Errorf("%d bytes are held of one", budget.Held())
		}
		b.Release()
		if budget.Held() != 0 || budget.Refused() != map[bool]uint64{false: 1}[ends] {
			t.Errorf("%d bytes are held, %d were refused", budget.Held(), budget.Refused())
		}
	}
}

func TestPutMany(t *testing.T) {
	var b Buffer
	want := bytes.Repeat([]byte("0123456789"), 20000)
	b.Put(want)
	if !bytes.Equal(b.Bytes(), want) {
		t.Error("Put has lost something")
	}
	b.Took(len(want))
	if err := b.Keep(); err != nil || b.buf != nil {
		t.Errorf("Keep() = %v, and a buffer of %d", err, len(b.buf))
	}
}

// A message of 1 MiB that comes in pieces costs little more than that, once the pools are filled.
func TestGarbage(t *testing.T) {
	const size, n = 1 << 20, 20
	piece := make([]byte, 1000)
	one := func() {
		var b Buffer
		defer b.Release()
		for i := 0; i < size; i += len(piece) {
			b.Put(piece)
			if err := b.Keep(); err != nil {
				t.Fatal(err)
			}
		}
	}
	one()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		one()
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / n; got > 2*size {
		t.Errorf("a message of %d bytes costs %d", size, got)
	}
}
