package websocket

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/portluck/portluck/handlers"
)

// nobody keeps only the last message.
type nobody struct{ last []byte }

func (*nobody) Connect(*handlers.Info)       {}
func (n *nobody) Message(m handlers.Message) { n.last = m.Data }

// sizes has the size of a short message and of a long one.
var sizes = []int{64, 64 << 10}

// decoder returns a func that decodes one complete frame. It restores the bytes before each run.
func decoder(tb testing.TB, op ws.OpCode, size int) (f *frames, run func()) {
	tb.Helper()
	f = (&Handler{}).frames(0)
	in := []byte(frame(op, true, strings.Repeat("x", size)))
	buf := make([]byte, len(in))
	m := handlers.Messages{Events: &nobody{}}
	return f, func() {
		copy(buf, in)
		if _, err := f.Decode(buf, &m); err != nil {
			tb.Fatal(err)
		}
	}
}

func TestNothingIsAllocated(t *testing.T) {
	for _, size := range sizes {
		for _, op := range []ws.OpCode{text, binop, ping} {
			if op == ping && size > 125 {
				continue
			}
			f, run := decoder(t, op, size)
			if n := testing.AllocsPerRun(100, run); n > 0 && op != ping {
				t.Errorf("Decode of %d bytes, opcode %d: %v allocations, want 0", size, op, n)
			}
			msg, out := bytes.Repeat([]byte("x"), size), make([]byte, 0, size+16)
			if n := testing.AllocsPerRun(100, func() { out = f.AppendMessage(out[:0], msg, handlers.Auto) }); n > 0 {
				t.Errorf("AppendMessage of %d bytes: %v allocations, want 0", size, n)
			}
		}
	}
}

// A fragmented message is put together in a pooled buffer.
func TestFragmentsAreNotAllocated(t *testing.T) {
	f, m := (&Handler{}).frames(0), handlers.Messages{Events: &nobody{}}
	in := []byte(split(text, strings.Repeat("x", 4<<10), 64))
	buf := make([]byte, len(in))
	n := testing.AllocsPerRun(100, func() {
		copy(buf, in)
		if _, err := f.Decode(buf, &m); err != nil {
			t.Fatal(err)
		}
	})
	// Without a pool it is 9. With the race detector the pool drops every fourth buffer.
	if n > 4 {
		t.Errorf("%v allocations, want at most 4", n)
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, size := range sizes {
		for op, name := range map[ws.OpCode]string{text: "text", binop: "binary"} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				_, run := decoder(b, op, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					run()
				}
			})
		}
	}
}

func BenchmarkAppendMessage(b *testing.B) {
	for _, size := range sizes {
		for _, kind := range []handlers.Kind{handlers.Auto, handlers.Binary} {
			b.Run(fmt.Sprintf("%v/%d", kind, size), func(b *testing.B) {
				f, msg, out := (&Handler{}).frames(0), bytes.Repeat([]byte("x"), size), make([]byte, 0, size+16)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					out = f.AppendMessage(out[:0], msg, kind)
				}
			})
		}
	}
}

// BenchmarkUnmask compares Decode of a frame of 64 KiB with a mere [ws.Cipher] of its payload. It
// takes the best time of each, as a busy machine can only add to it.
func BenchmarkUnmask(b *testing.B) {
	const size = 64 << 10
	_, run := decoder(b, binop, size)
	payload, from := make([]byte, size), make([]byte, size)
	ours, theirs := time.Hour, time.Hour
	b.SetBytes(2 * size)
	for b.Loop() {
		start := time.Now()
		run()
		middle := time.Now()
		copy(payload, from)
		ws.Cipher(payload, [4]byte{1, 2, 3, 4}, 0)
		ours, theirs = min(ours, middle.Sub(start)), min(theirs, time.Since(middle))
	}
	b.ReportMetric(float64(ours)/float64(theirs), "ours/gobwas")
}
