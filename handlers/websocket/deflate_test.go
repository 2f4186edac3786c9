package websocket

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/portluck/portluck/handlers"
)

const rsv1Bit = 4 // of rsv

// packedFrame returns the payload of a message that compress/flate has compressed.
func packedFrame(tb testing.TB, msg string) string {
	tb.Helper()
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestCompression)
	io.WriteString(w, msg)
	if err := w.Flush(); err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSuffix(b.String(), syncMark)
}

// unpacked describes the frames in b, as replies does. Those that were compressed begin with a
// star.
func unpacked(tb testing.TB, b []byte) (all []string) {
	tb.Helper()
	for r := bytes.NewReader(b); r.Len() > 0; {
		start := len(b) - r.Len()
		h, err := ws.ReadHeader(r)
		if err != nil || h.Length > int64(r.Len()) {
			tb.Fatalf("reply %q: %+v, %v", b, h, err)
		}
		payload := make([]byte, h.Length)
		_, _ = io.ReadFull(r, payload)
		if h.Rsv == 0 {
			all = append(all, replies(tb, b[start:len(b)-r.Len()])...)
			continue
		}
		msg, err := io.ReadAll(flate.NewReader(strings.NewReader(string(payload) + tail)))
		if err != nil || h.Rsv != rsv1Bit || !h.Fin || h.OpCode != ws.OpText && h.OpCode != ws.OpBinary {
			tb.Fatalf("reply %q: %+v, %v", b, h, err)
		}
		all = append(all, fmt.Sprint("*", h.OpCode, " ", string(msg)))
	}
	return all
}

// Compressed messages of clients, and what the hub gets. The first ones are those of RFC 7692,
// section 7.2.3.
func TestTraps4Row24Messages(t *testing.T) {
	hello := "\xf2\x48\xcd\xc9\xc9\x07\x00"
	parted := func(op ws.OpCode, payload string, n int) string {
		f := []byte(split(op, payload, n))
		f[0] |= rsv1
		return string(f)
	}
	invalid := packedFrame(t, "ok \xff")
	tests := []struct {
		name, in string
		want     []string
		err      error
	}{
		{"7.2.3.1: one block", rsv(rsv1Bit, text, hello), []string{"text Hello"}, nil},
		{"7.2.3.1: in two frames", parted(text, hello, 3), []string{"text Hello"}, nil},
		{"7.2.3.3: no compression", rsv(rsv1Bit, text, "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"), []string{"text Hello"}, nil},
		{"7.2.3.4: final block", rsv(rsv1Bit, text, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), []string{"text Hello"}, nil},
		{"7.2.3.5: two blocks", rsv(rsv1Bit, text, "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"), []string{"text Hello"}, nil},
		{"final block without the byte behind it", rsv(rsv1Bit, binop, "\xf3\x48\xcd\xc9\xc9\x07\x00"), []string{"binary Hello"}, nil},
		{"24f: two final blocks", rsv(rsv1Bit, text, "\xf3\x48\xcd\xc9\xc9\x07\x00\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), []string{"text HelloHello"}, nil},
		{"24f: empty", rsv(rsv1Bit, text, "\x00"), []string{"text "}, nil},
		{"not compressed", frame(text, true, "Hello"), []string{"text Hello"}, nil},
		{"one of each", frame(text, true, "a") + rsv(rsv1Bit, text, hello) + frame(binop, true, "b"), []string{"text a", "text Hello", "binary b"}, nil},
		{"a ping between fragments", parted(text, hello, 3)[:9] + frame(ping, true, "p") + parted(text, hello, 3)[9:], []string{"text Hello"}, nil},
		{"long", rsv(rsv1Bit, text, packedFrame(t, strings.Repeat("abc", 50000))), []string{"text " + strings.Repeat("abc", 50000)}, nil},
		{"18: invalid text", rsv(rsv1Bit, text, invalid), nil, handlers.ErrInvalidText},
		{"18: the same, binary", rsv(rsv1Bit, binop, invalid), []string{"binary ok \xff"}, nil},
		{"12: on a continuation", parted(text, hello, 3)[:9] + rsv(rsv1Bit, cont, hello[3:]), nil, protocol},
		{"12: on a ping", rsv(rsv1Bit, ping, ""), nil, protocol},
		{"12: another bit", rsv(2, text, hello), nil, protocol},
		{"12: two bits", rsv(5, text, hello), nil, protocol},
		{"damaged", rsv(rsv1Bit, text, "\xff\xff\xff"), nil, protocol},
		{"cut off", rsv(rsv1Bit, text, "\x00\x50\x00\xaf\xff\x48"), nil, protocol},
		{"nothing", rsv(rsv1Bit, text, ""), nil, protocol},
		{"final blocks without end", rsv(rsv1Bit, text, strings.Repeat("\x03\x00", 1000)), nil, protocol},
		{"24a: too long", rsv(rsv1Bit, binop, packedFrame(t, strings.Repeat("x", DefaultLimit+1))), nil, handlers.ErrTooLong},
	}
	for _, tt := range tests {
		for _, c := range cuts {
			if len(tt.in) > 1<<10 && c.name != "whole" {
				continue
			}
			t.Run(tt.name+", "+c.name, func(t *testing.T) {
				d := feed((&Handler{CompressMin: 1}).frames(15), []byte(tt.in+normal), c.cut)
				if got := slices.DeleteFunc(d.seen, func(s string) bool { return s == "" }); !slices.Equal(got, tt.want) {
					t.Errorf("got %.100q, want %.100q", got, tt.want)
				}
				if !ended(d.err, tt.err) {
					t.Errorf("error %v, want %v", d.err, tt.err)
				}
			})
		}
	}
	if d := feed((&Handler{}).frames(0), []byte(rsv(rsv1Bit, text, hello)), whole); !errors.Is(d.err, protocol) {
		t.Errorf("not negotiated: %v, want a protocol error", d.err)
	}
}

// A message that becomes a thousand times as long by decompression takes no more memory than the
// limit.
func TestTraps4Row24aBomb(t *testing.T) {
	bomb := packedFrame(t, strings.Repeat("\x00", 16<<20))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	d := feed((&Handler{CompressMin: 1}).frames(15), []byte(rsv(rsv1Bit, binop, bomb)), whole)
	runtime.ReadMemStats(&after)
	if !errors.Is(d.err, handlers.ErrTooLong) {
		t.Errorf("%d bytes: %v, want ErrTooLong", len(bomb), d.err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 8<<20 {
		t.Errorf("it took %d bytes", took)
	}
}

// What is sent can be decompressed, whatever its length and the window.
func TestTraps4Row24Sends(t *testing.T) {
	words := func(n int) string {
		var b strings.Builder
		for b.Len() < n {
			fmt.Fprint(&b, "word", rand.IntN(100), " ")
		}
		return b.String()[:n]
	}
	noise := make([]byte, 4096)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	tests := []struct {
		name, msg string
		kind      handlers.Kind
		want      string
	}{
		{"short", words(99), handlers.Text, "text "},
		{"long enough", words(100), handlers.Text, "*1 "},
		{"binary", words(1000), handlers.Binary, "*2 "},
		{"not text", words(1000) + "\xff", handlers.Text, "*2 "},
		{"24g: would become longer", string(noise), handlers.Binary, "binary "},
		{"a word of many", words(80000), handlers.Auto, "*1 "},
	}
	for _, tt := range tests {
		for window := uint8(minWindow); window <= maxWindow; window++ {
			f := (&Handler{CompressMin: 100}).frames(window)
			out := f.AppendMessage([]byte(nil), []byte(tt.msg), tt.kind)
			if got := unpacked(t, out); len(got) != 1 || got[0] != tt.want+tt.msg {
				t.Errorf("%s, window %d: %.50q, want %q", tt.name, window, got, tt.want)
			}
			if framed := f.Framing(f).AppendMessage(nil, []byte(tt.msg), tt.kind); !bytes.Equal(framed, out) {
				t.Errorf("%s, window %d: a room sends something else", tt.name, window)
			}
			if got := unpacked(t, f.AppendWrite(nil, []byte(tt.msg), tt.kind)); got[0][0] == '*' {
				t.Errorf("%s: what is written as it is was compressed", tt.name)
			}
		}
	}
}

// No part of a message refers back beyond the window, as the message consists of parts of that
// length.
func TestTraps4Row24eWindow(t *testing.T) {
	msg := bytes.Repeat([]byte("0123456789"), 100)
	whole, parts := compressors.Get().(*compressor), []byte(nil)
	defer whole.put()
	for rest := msg; len(rest) > 0; {
		piece := rest[:min(256, len(rest))]
		rest = rest[len(piece):]
		whole.compress(piece, 1<<maxWindow)
		parts = append(parts, whole.out...)
		parts = append(parts, syncMark...)
	}
	whole.compress(msg, 1<<minWindow)
	if want := parts[:len(parts)-len(syncMark)]; !bytes.Equal(whole.out, want) {
		t.Errorf("compressed to %d bytes, the parts to %d", len(whole.out), len(want))
	}
}

// Framings are equal if both clients can get the same bytes; then a room compresses only once.
func TestTraps4Row24hFramings(t *testing.T) {
	h := &Handler{CompressMin: 1}
	if h.frames(15).Framing(nil) != h.frames(15).Framing(nil) {
		t.Error("two clients of the same kind have different framings")
	}
	if h.frames(15).Framing(nil) == h.frames(9).Framing(nil) || h.frames(15).Framing(nil) == h.frames(0).Framing(nil) {
		t.Error("clients of different kinds have the same framing")
	}
}

func TestCompressionIsNotAllocated(t *testing.T) {
	c, i := compressors.Get().(*compressor), inflaters.Get().(*inflater)
	defer c.put()
	defer i.put()
	msg := bytes.Repeat([]byte("hello "), 1000)
	n := testing.AllocsPerRun(100, func() {
		c.compress(msg, 1<<maxWindow)
		if err := i.inflate(c.out, nil, len(msg), nil); err != nil {
			t.Fatal(err)
		}
	})
	if n > 0 || !bytes.Equal(i.out, msg) {
		t.Errorf("%v allocations, want 0", n)
	}
}

// A compressed message of any bytes is decompressed as by compress/flate.
func FuzzInflate(f *testing.F) {
	for _, s := range []string{"", "\x00", "\xf2\x48\xcd\xc9\xc9\x07\x00", "\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "\x03\x00\x03\x00"} {
		f.Add([]byte(s))
	}
	f.Add([]byte(packedFrame(f, strings.Repeat("hello world ", 100))))
	f.Fuzz(func(t *testing.T, in []byte) {
		const limit = 1 << 16
		i := inflaters.Get().(*inflater)
		defer i.put()
		err := i.inflate(in, nil, limit, nil)
		if len(i.out) > limit+(limit>>1)+1024 {
			t.Errorf("%d bytes with a limit of %d", len(i.out), limit)
		}
		src := strings.NewReader(string(in) + tail)
		want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(src), limit+1))
		switch {
		case wantErr != nil:
			if err == nil {
				t.Errorf("no error, want %v", wantErr)
			}
		case len(want) > limit:
			if !errors.Is(err, handlers.ErrTooLong) {
				t.Errorf("error %v, want ErrTooLong", err)
			}
		case src.Len() == 0 && (err != nil || !bytes.Equal(i.out, want)):
			t.Errorf("%q, %v, want %q", i.out, err, want)
		case err == nil && !bytes.HasPrefix(i.out, want):
			t.Errorf("%q, want it to begin with %q", i.out, want)
		}
	})
}
