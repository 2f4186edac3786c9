package websocket

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/gobwas/ws"
	"github.com/portluck/portluck/handlers"
)

// Sizes around those at which the header grows.
func TestSizes(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 128, 65535, 65536, 1 << 20} {
		in := []byte(frame(binop, true, strings.Repeat("x", n)) + normal)
		d := feed((&Handler{Limit: 1 << 20}).frames(0), in, upTo(4096))
		if len(d.seen) != 1 || len(d.seen[0]) != len("binary ")+n || !errors.Is(d.err, io.EOF) {
			t.Errorf("%d bytes: %d messages, %v", n, len(d.seen), d.err)
		}
		f := (&Handler{}).frames(0)
		out := f.AppendMessage(nil, bytes.Repeat([]byte("y"), n), handlers.Binary)
		if got := replies(t, out); len(got) != 1 || len(got[0]) != len("binary ")+n {
			t.Errorf("%d bytes: sent %d frames", n, len(got))
		}
	}
}

func TestTraps4Row13CloseCodes(t *testing.T) {
	valid := []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999}
	invalid := []int{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535}
	for _, code := range valid {
		d := feed((&Handler{}).frames(0), []byte(closeFrame(code, "bye")), whole)
		if got := fmt.Sprint(replies(t, d.out)); got != fmt.Sprintf("[close %d]", code) {
			t.Errorf("%d is answered with %s", code, got)
		}
		var ce *CloseError
		if odd := code != 1000 && code != 1001; errors.As(d.err, &ce) != odd || odd && (ce.Code != code || ce.Reason != "bye") {
			t.Errorf("%d: error %v", code, d.err)
		}
	}
	for _, code := range invalid {
		d := feed((&Handler{}).frames(0), []byte(closeFrame(code, "")), whole)
		if got := fmt.Sprint(replies(t, d.out)); got != "[close 1002]" {
			t.Errorf("%d is answered with %s", code, got)
		}
	}
}

func TestTraps4Row20PingFlood(t *testing.T) {
	f := (&Handler{}).frames(0)
	in := []byte(strings.Repeat(frame(ws.OpPing, true, strings.Repeat("p", 125)), 10000) + frame(ws.OpPing, true, "newest"))
	m := handlers.Messages{Events: &driver{}}
	if _, err := f.Decode(in, &m); err != nil {
		t.Fatal(err)
	}
	if len(m.Reply) > maxReply+200 {
		t.Errorf("%d bytes of pongs", len(m.Reply))
	}
	if all := replies(t, m.Reply); all[len(all)-1] != "pong newest" {
		t.Errorf("the newest is answered with %q", all[len(all)-1])
	}
}

func TestTraps4Row22Limits(t *testing.T) {
	h := &Handler{Limit: 10}
	for name, tt := range map[string]struct {
		in   string
		long bool
	}{
		"as long as allowed":     {frame(text, true, "0123456789"), false},
		"announced too long":     {"\x81\x8b", true},
		"huge":                   {"\x82\xff\x00\x00\x00\xff\xff\xff\xff\xff", true},
		"fragments too long":     {frame(text, false, "01234") + frame(cont, true, "567890"), true},
		"fragments just right":   {frame(text, false, "01234") + frame(cont, true, "56789"), false},
		"as many empty":          {strings.Repeat(frame(text, false, "")+strings.Repeat(frame(cont, false, ""), maxEmpty-1)+frame(cont, true, ""), 3), false},
		"too many empty":         {frame(text, false, "") + strings.Repeat(frame(cont, false, ""), maxEmpty), true},
		"empty between others":   {frame(text, false, "") + strings.Repeat(strings.Repeat(frame(cont, false, ""), maxEmpty-1)+frame(cont, false, "x"), 10) + frame(cont, true, ""), false},
		"empty after others":     {frame(text, false, "x") + strings.Repeat(frame(cont, false, ""), maxEmpty+1), true},
		"control frames are not": {frame(ws.OpPing, true, "01234567890123"), false},
	} {
		d := feed(h.frames(0), []byte(tt.in), whole)
		if got := errors.Is(d.err, handlers.ErrTooLong); got != tt.long {
			t.Errorf("%s: %v", name, d.err)
		}
		if all := fmt.Sprint(replies(t, d.out)); tt.long && all != "[close 1009]" {
			t.Errorf("%s: %s", name, all)
		}
	}
}

// The number of frames of a message is not bounded, but the number of bytes is: Autobahn 9.3.1 and
// 9.4.1.
func TestManyFrames(t *testing.T) {
	for _, op := range []ws.OpCode{ws.OpText, ws.OpBinary} {
		piece := strings.Repeat("x", 64)
		in := frame(op, false, piece) + strings.Repeat(frame(cont, false, piece), 1<<16-1) + frame(cont, true, "") + normal
		for name, cut := range map[string]func(int) int{"whole": whole, "in pieces": upTo(4096)} {
			d := feed((&Handler{Limit: 4 << 20}).frames(0), []byte(in), cut)
			if len(d.seen) != 1 || !strings.HasSuffix(d.seen[0], " "+strings.Repeat("x", 4<<20)) || !errors.Is(d.err, io.EOF) {
				t.Errorf("%v, %s: %d messages, %v", op, name, len(d.seen), d.err)
			}
		}
	}
}

// However a message is split into frames, with pings and pongs between them, it is the same
// message, and each ping is answered in order.
func TestFragmentPatterns(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 500 {
		op, packed := []ws.OpCode{ws.OpText, ws.OpBinary}[i%2], i%3 == 0
		msg := strings.Repeat("κ\U00024b62*", r.IntN(40))
		payload := msg
		if packed {
			payload = packedFrame(t, msg)
		}
		var in strings.Builder
		var want []string
		for at, first := 0, true; first || at < len(payload); {
			for range r.IntN(3) {
				in.WriteString(frame(ws.OpPong, true, "unsolicited") + frame(ws.OpPing, true, fmt.Sprint(i, at)))
				want = append(want, fmt.Sprint("pong ", i, at))
			}
			n := min(r.IntN(8), len(payload)-at)
			one := []byte(frame(op, at+n == len(payload) && r.IntN(2) == 0, payload[at:at+n]))
			if packed && first {
				one[0] |= rsv1
			}
			in.Write(one)
			if at += n; at == len(payload) && one[0]&0x80 == 0 {
				in.WriteString(strings.Repeat(frame(cont, false, ""), r.IntN(5)) + frame(cont, true, ""))
			}
			op, first = cont, false
		}
		want = append(want, "close 1000")
		d := feed((&Handler{CompressMin: 1}).frames(maxWindow), []byte(in.String()+normal), randomly)
		if len(d.seen) != 1 || !strings.HasSuffix(d.seen[0], " "+msg) || !errors.Is(d.err, io.EOF) {
			t.Fatalf("message %d, compressed %t: %.100q, %v, want %.100q", i, packed, d.seen, d.err, msg)
		}
		if got := replies(t, d.out); !slices.Equal(got, want) {
			t.Fatalf("message %d: replies %q, want %q", i, got, want)
		}
	}
}

// The length of any frame must be in its shortest form: RFC 6455, section 5.2.
func TestShortestLength(t *testing.T) {
	long := func(b0 byte, n, size int) string {
		b := []byte{b0, 0x80 | 126, 0, 0}
		if size == 8 {
			b = []byte{b0, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0, 0}
		}
		for i := range 4 {
			if at := len(b) - 1 - i; at > 1 {
				b[at] = byte(n >> (8 * i))
			}
		}
		return string(b) + "\x00\x00\x00\x00" + strings.Repeat("x", n)
	}
	for _, tt := range []struct {
		n, size int
		wrong   bool
	}{
		{0, 2, true},
		{1, 2, true},
		{125, 2, true},
		{126, 2, false},
		{65535, 2, false},
		{0, 8, true},
		{125, 8, true},
		{126, 8, true},
		{65535, 8, true},
		{65536, 8, false},
	} {
		for name, in := range map[string]string{
			"text":   long(0x81, tt.n, tt.size),
			"binary": long(0x82, tt.n, tt.size),
			"begun":  long(0x01, tt.n, tt.size),
			"later":  frame(text, false, "") + long(0x80, tt.n, tt.size),
		} {
			for _, packed := range []uint8{0, maxWindow} {
				d := feed((&Handler{CompressMin: 1}).frames(packed), []byte(in), bytewise)
				if got := errors.Is(d.err, handlers.ErrProtocol); got != tt.wrong {
					t.Errorf("%s of %d bytes in %d: %v", name, tt.n, tt.size, d.err)
				}
				if all := fmt.Sprint(replies(t, d.out)); tt.wrong && all != "[close 1002]" {
					t.Errorf("%s of %d bytes in %d: %s", name, tt.n, tt.size, all)
				}
			}
		}
	}
}

// The server's close frame is sent once and is the last frame. After it only the peer's close frame
// counts: rows 14 and 15.
func TestTraps4Row15ServerCloses(t *testing.T) {
	f := (&Handler{}).frames(0)
	out := f.AppendClose(nil, nil)
	out = f.AppendClose(out, handlers.ErrShutdown)
	out = f.AppendMessage(out, []byte("late"), handlers.Text)
	if got := fmt.Sprint(replies(t, out)); got != "[close 1000]" {
		t.Errorf("sent %s", got)
	}
	in := frame(text, true, "ignored") + frame(ws.OpPing, true, "") + frame(binop, true, strings.Repeat("x", 1<<10)) + normal
	for name, cut := range map[string]func(int) int{"whole": whole, "bytewise": bytewise} {
		f := (&Handler{}).frames(0)
		f.AppendClose(nil, nil)
		d := feed(f, []byte(in), cut)
		if len(d.seen) > 0 || len(d.out) > 0 || !errors.Is(d.err, io.EOF) {
			t.Errorf("%s: messages %q, replies %q, %v", name, d.seen, d.out, d.err)
		}
	}
}

func TestTraps4Row11CodesOfErrors(t *testing.T) {
	for err, want := range map[error]string{
		nil:                 "[close 1000]",
		handlers.ErrTooLong: "[close 1009]", handlers.ErrProtocol: "[close 1002]", handlers.ErrInvalidText: "[close 1007]",
		handlers.ErrPolicy: "[close 1008]", handlers.ErrPanic: "[close 1011]", handlers.ErrShutdown: "[close 1001]",
		handlers.ErrTimeout: "[close 1001]", handlers.ErrSlow: "[close 1013]", io.ErrNoProgress: "[close 1011]",
	} {
		if got := fmt.Sprint(replies(t, (&Handler{}).frames(0).AppendClose(nil, err))); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}

func TestKinds(t *testing.T) {
	for _, tt := range []struct {
		msg  string
		kind handlers.Kind
		want string
	}{
		{"a", handlers.Auto, "text a"},
		{"\xff", handlers.Auto, "binary \xff"},
		{"a", handlers.Text, "text a"},
		{"\xff", handlers.Text, "binary \xff"},
		{"a", handlers.Binary, "binary a"},
	} {
		if got := replies(t, (&Handler{}).frames(0).AppendMessage(nil, []byte(tt.msg), tt.kind)); got[0] != tt.want {
			t.Errorf("%q as %v: %q", tt.msg, tt.kind, got[0])
		}
	}
}

// Between two messages a codec holds no memory.
func TestSizeOfFrames(t *testing.T) {
	if got := unsafe.Sizeof(frames{}); unsafe.Sizeof(uintptr(0)) == 8 && got > 24 {
		t.Errorf("a codec is %d bytes, want at most 24", got)
	}
	f := (&Handler{}).frames(0)
	in := []byte(frame(text, true, "hello"))
	for n := range in {
		d := &driver{codec: f}
		d.turn(in[:n+1], false)
		if held := f.partial != nil; held != (n > 5 && n+1 < len(in)) {
			t.Errorf("after %d of %d bytes it holds something: %t", n+1, len(in), held)
		}
		f = (&Handler{}).frames(0)
		in = []byte(frame(text, true, "hello"))
	}
}

// The codec reports how much memory the fragments of a message take: TRAPS part 3, row 9.
func TestTraps3Row9FragmentsAreTold(t *testing.T) {
	d := &driver{codec: (&Handler{}).frames(0)}
	for i, op := range []ws.OpCode{ws.OpText, ws.OpContinuation, ws.OpContinuation} {
		d.turn([]byte(frame(op, false, strings.Repeat("x", 1000))), false)
		if least := 1000 * (i + 1); !d.m.Partial || d.m.Kept < least {
			t.Errorf("%d bytes are told to be kept after fragment %d, want %d", d.m.Kept, i, least)
		}
	}
	if d.turn([]byte(frame(ws.OpContinuation, true, "")), false); d.m.Partial || d.m.Kept != 0 {
		t.Errorf("%d bytes are told to be kept of a message that is whole", d.m.Kept)
	}
}

// Pings are sent until the server's close frame: RFC 6455, section 5.5.2.
func TestAppendPing(t *testing.T) {
	f := (&Handler{}).frames(0)
	out := f.AppendPing([]byte("before"))
	if string(out) != "before\x89\x00" {
		t.Errorf("AppendPing() = %q", out)
	}
	f.AppendClose(nil, nil)
	if out = f.AppendPing(nil); len(out) > 0 {
		t.Errorf("AppendPing() after Close = %q", out)
	}
}
