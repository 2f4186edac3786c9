package websocket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/boundtest"
)

// decode feeds input to a codec in one piece.
func decode(f *frames, input string) (d *driver, n int, err error) {
	d = &driver{codec: f}
	d.m = handlers.Messages{Events: d}
	n, err = f.Decode([]byte(input), &d.m)
	return d, n, err
}

// lengthOf returns the beginning of a masked frame with a length of n bytes.
func lengthOf(op ws.OpCode, rsv byte, n int) string {
	b := []byte{0x80 | rsv | byte(op), 0x80 | 126}
	if n < 1<<16 {
		return string(binary.BigEndian.AppendUint16(b, uint16(n)))
	}
	b[1] |= 127
	return string(binary.BigEndian.AppendUint64(b, uint64(n)))
}

// A bound of zero is the default, and a negative one is no bound.
func TestBounds(t *testing.T) {
	boundtest.Check(t, nil,
		boundtest.Field("Limit", DefaultLimit, boundtest.None, func(h *Handler) int64 { return int64(h.limit()) }),
		boundtest.Field("CompressMin", boundtest.None, boundtest.None, func(h *Handler) int64 {
			in := strings.Replace(good, key, key+"Sec-WebSocket-Extensions: permessage-deflate\r\n", 1)
			if out := shake(h, in, whole).out; !bytes.Contains(out, []byte("permessage-deflate")) {
				return boundtest.None
			}
			return int64(h.frames(maxWindow).deflated().least)
		}),
	)
}

// A message that is too long is refused by its length alone. A compressed one may be a little
// longer than the limit, because incompressible bytes get longer.
func TestLimitByLength(t *testing.T) {
	tests := []struct {
		name   string
		limit  int
		packed bool
		most   int
	}{
		{"none is the default", 0, false, DefaultLimit},
		{"given", 1000, false, 1000},
		{"compressed", 1000, true, 1000 + 125 + 64},
		{"compressed and long", 16 << 20, true, 16<<20 + 1<<20 + 64},
		{"no limit", -1, false, 1 << 29},
		{"no limit, compressed", -1, true, 1 << 29},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, rsv := &Handler{Limit: tt.limit, CompressMin: 1}, byte(0)
			if tt.packed {
				rsv = rsv1
			}
			if _, n, err := decode(h.frames(maxWindow), lengthOf(ws.OpBinary, rsv, tt.most)); n != 0 || err != nil {
				t.Errorf("%d bytes: %v", tt.most, err)
			}
			_, _, err := decode(h.frames(maxWindow), lengthOf(ws.OpBinary, rsv, tt.most+1))
			if long := errors.Is(err, handlers.ErrTooLong); long != (tt.limit >= 0) {
				t.Errorf("%d bytes: %v", tt.most+1, err)
			}
		})
	}
	_, _, err := decode((&Handler{Limit: -1}).frames(0), "\x82\xff\x80"+strings.Repeat("\x00", 7))
	if !errors.Is(err, handlers.ErrProtocol) {
		t.Errorf("the highest bit of the length: %v, want ErrProtocol", err)
	}
}

// Bytes after the peer's close frame are dropped.
func TestNothingAfterClose(t *testing.T) {
	f := (&Handler{}).frames(0)
	if _, _, err := decode(f, normal); !errors.Is(err, io.EOF) {
		t.Fatalf("Close: %v", err)
	}
	late := frame(text, true, "late")
	if d, n, err := decode(f, late); n != len(late) || !errors.Is(err, io.EOF) || len(d.seen) > 0 {
		t.Errorf("%d bytes, %v, messages %q", n, err, d.seen)
	}
}

// If an error wraps several errors, the first in codes gives the close code.
func TestCodeOfJoinedErrors(t *testing.T) {
	err := fmt.Errorf("%w, %w", handlers.ErrProtocol, handlers.ErrTooLong)
	if got := fmt.Sprint(replies(t, (&Handler{}).frames(0).AppendClose(nil, err))); got != "[close 1009]" {
		t.Errorf("%s, want close 1009", got)
	}
}

// Older pongs are dropped for newer ones once they are more than maxReply bytes.
func TestPongsAtTheirBound(t *testing.T) {
	f := (&Handler{}).frames(0)
	pings := strings.Repeat(frame(ping, true, strings.Repeat("p", 125)), maxReply/127) + frame(ping, true, strings.Repeat("p", maxReply%127-2))
	d, _, err := decode(f, pings+frame(ping, true, ""))
	if err != nil || len(d.m.Reply) != maxReply+2 {
		t.Errorf("%d bytes of pongs, %v, want %d", len(d.m.Reply), err, maxReply+2)
	}
	d, _, err = decode(f, pings+frame(ping, true, "")+frame(ping, true, "new"))
	if err != nil || len(d.m.Reply) != 5 {
		t.Errorf("%d bytes of pongs, %v, want the newest", len(d.m.Reply), err)
	}
}

// All connections without compression have the same framing.
func TestFramingWithoutWindow(t *testing.T) {
	h := &Handler{CompressMin: 1}
	if got := h.frames(0).Framing(nil); got != (framing{}) {
		t.Errorf("Framing() = %#v", got)
	}
	if got := h.frames(9).Framing(nil); got != (deflated{1, 9}) {
		t.Errorf("Framing() = %#v", got)
	}
}

// A buffer of keepOut bytes is kept for the next message, a larger one is not.
func TestBuffersKept(t *testing.T) {
	for size, kept := range map[int]bool{keepOut: true, keepOut + 1: false} {
		c := compressors.New().(*compressor)
		c.out = make([]byte, 0, size)
		c.put()
		i := inflaters.New().(*inflater)
		i.out = make([]byte, 0, size)
		i.put()
		if c.out != nil != kept || i.out != nil != kept {
			t.Errorf("%d bytes: kept %t %t, want %t", size, c.out != nil, i.out != nil, kept)
		}
	}
}

// Compressors and decompressors are pooled. With the race detector the pool drops every fourth.
func TestCompressorsAreUsedAgain(t *testing.T) {
	h := &Handler{CompressMin: 1}
	f, msg := h.frames(maxWindow), bytes.Repeat([]byte("hello "), 100)
	var out []byte
	if n := testing.AllocsPerRun(100, func() { out = f.AppendMessage(out[:0], msg, handlers.Auto) }); n > 14 {
		t.Errorf("AppendMessage: %v allocations", n)
	}
	in := rsv(rsv1Bit, text, packedFrame(t, string(msg)))
	buf, m := make([]byte, len(in)), handlers.Messages{Events: &nobody{}}
	n := testing.AllocsPerRun(100, func() {
		copy(buf, in)
		if _, err := f.Decode(buf, &m); err != nil {
			t.Fatal(err)
		}
	})
	if n > 8 {
		t.Errorf("Decode: %v allocations", n)
	}
}

// A message that compression does not make shorter is sent uncompressed.
func TestNotShorterIsNotCompressed(t *testing.T) {
	c := compressors.New().(*compressor)
	tried := map[int]bool{} // the number of bytes that compression added
	for n := 1; n < 400; n++ {
		msg := []byte(strings.Repeat("a", n%20) + "bcdefghijklmnopqrstuvwxyz0123456789"[:n%35])
		if len(msg) == 0 {
			continue
		}
		c.compress(msg, 1<<maxWindow)
		longer := len(c.out) - len(msg)
		tried[min(max(longer, -1), 1)] = true
		out := deflated{1, maxWindow}.AppendMessage(nil, msg, handlers.Text)
		if packed := out[0]&rsv1 != 0; packed != (longer < 0) {
			t.Errorf("%q becomes %d bytes longer: compressed %t", msg, longer, packed)
		}
	}
	if !tried[-1] || !tried[0] || !tried[1] {
		t.Errorf("tried %v, want shorter, as long and longer", tried)
	}
}

// With the largest window a long message is compressed in one piece, with a smaller one in pieces.
func TestWindowOfLongMessage(t *testing.T) {
	msg := make([]byte, 3<<maxWindow)
	for i := range msg {
		msg[i] = byte(rand.Uint32() % 16)
	}
	whole, pieces := compressors.New().(*compressor), compressors.New().(*compressor)
	whole.compress(msg, len(msg))
	for _, window := range []int{minWindow, maxWindow - 1, maxWindow} {
		pieces.compress(msg, 1<<window)
		if one := bytes.Equal(pieces.out, whole.out); one != (window == maxWindow) {
			t.Errorf("window %d: in one piece %t", window, one)
		}
	}
}

// The decompressor's input ends where it should, and its sizes are bounded.
func TestInflateBounds(t *testing.T) {
	i := inflaters.New().(*inflater)
	final := "\x01\x00\x00\xff\xff" // an empty block that is marked as the last one
	tests := []struct {
		name, in string
		limit    int
		want     error
	}{
		{"as long as allowed", packedFrame(t, "hello"), 5, nil},
		{"longer", packedFrame(t, "hello"), 4, handlers.ErrTooLong},
		{"nothing is allowed", packedFrame(t, "h"), 0, handlers.ErrTooLong},
		{"nothing", "\x00", 0, nil},
		{"many final blocks", strings.Repeat(final, maxFinals+1), 5, nil},
		{"too many final blocks", strings.Repeat(final, maxFinals+2), 5, handlers.ErrProtocol},
		{"a block without an end", "\xf2", 5, handlers.ErrProtocol},
		{"a stored block without an end", "\x00\x10\x00\xef\xffabc", 50, handlers.ErrProtocol},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := i.inflate([]byte(tt.in), nil, tt.limit, nil); !errors.Is(err, tt.want) {
				t.Errorf("inflate() = %v, want %v", err, tt.want)
			}
		})
	}
	for name, read := range map[string]func(p *packed, b []byte) (int, error){
		"Read": (*packed).Read,
		"ReadByte": func(p *packed, b []byte) (int, error) {
			c, err := p.ReadByte()
			if err != nil {
				return 0, err
			}
			b[0] = c
			return 1, nil
		},
	} {
		var got []byte
		p, b := &packed{msg: []byte("msg")}, make([]byte, 2)
		for range 20 {
			n, err := read(p, b)
			if got = append(got, b[:n]...); err != nil && string(got) != "msg"+tail {
				t.Errorf("%s: %q and %v", name, got, err)
			}
		}
		if string(got) != "msg"+tail {
			t.Errorf("%s: %q, want %q", name, got, "msg"+tail)
		}
	}
}

// Quotes and backslashes hide a separator between the elements of a list.
func TestSplitList(t *testing.T) {
	tests := []struct {
		in   string
		want []string
	}{
		{"", []string{""}},
		{"a, b ,c", []string{"a", "b", "c"}},
		{`a="b,c",d`, []string{`a="b,c"`, "d"}},
		{`"abc",d`, []string{`"abc"`, "d"}},
		{`"ab",d`, []string{`"ab"`, "d"}},
		{`"a\",b",c`, []string{`"a\",b"`, "c"}},
		{`"a\\",b`, []string{`"a\\"`, "b"}},
		{`a\,b`, []string{`a\`, "b"}},
		{`a\",b",c`, []string{`a\",b"`, "c"}},
		{`"a\`, []string{`"a\`}},
		{`"a,`, []string{`"a,`}},
	}
	for _, tt := range tests {
		if got := splitList(tt.in, ','); !slices.Equal(got, tt.want) {
			t.Errorf("splitList(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
	for in, want := range map[string]uint8{`"9"`: 9, `"`: 0, `""`: 0, `"9`: 0, `9"`: 0, "": 0, "8": 8, "15": 15, "7": 0, "16": 0} {
		if got := windowOf(in); got != want {
			t.Errorf("windowOf(%s) = %d, want %d", in, got, want)
		}
	}
}

// Serve attaches a handshake that is not finished.
func TestServeAttachesAHandshake(t *testing.T) {
	p := &port{attached: make(chan handlers.Attachment, 1)}
	(&Handler{}).Serve(handlers.Wrap(nil, nil, &handlers.Info{}), p)
	if a := <-p.attached; !a.Handshake || a.Info != nil {
		t.Errorf("attached %+v, want a handshake", a)
	}
}

// Decompressing a message takes memory from the budget and gives it back. If the budget does not
// suffice the message is refused.
func TestInflateBudget(t *testing.T) {
	long := strings.Repeat("x", 4*keepOut)
	in := []byte(packedFrame(t, long))
	for most, want := range map[int64]error{1 << 20: nil, keepOut: handlers.ErrOverload} {
		budget := &handlers.Budget{Max: most}
		i := inflaters.New().(*inflater)
		if err := i.inflate(in, nil, len(long), budget); !errors.Is(err, want) {
			t.Errorf("of %d bytes: inflate() = %v, want %v", most, err, want)
		}
		if held := budget.Held(); (want == nil) != (held >= int64(len(long)-keepOut)) {
			t.Errorf("of %d bytes: %d are held", most, held)
		}
		i.put()
		if held, refused := budget.Held(), budget.Refused(); held != 0 || refused != 0 != (want != nil) {
			t.Errorf("of %d bytes: %d are held afterwards, %d refused", most, held, refused)
		}
	}
}
