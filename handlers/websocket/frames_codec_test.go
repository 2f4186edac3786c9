package websocket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/testdata/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// driver feeds a codec as the loop does, and remembers what comes of it. It echoes messages, if it is to.
type driver struct {
	codec handlers.Codec
	echo  bool
	buf   []byte
	out   []byte // what the peer is sent
	seen  []string
	err   error // of Decode
}

func (d *driver) Connect(info *handlers.Info) { d.seen = append(d.seen, "connect "+info.Protocol) }

func (d *driver) Message(m handlers.Message) {
	d.seen = append(d.seen, fmt.Sprintf("%v %s", m.Kind, m.Data))
}

// turn gives the codec what has come.
func (d *driver) turn(p []byte, eof bool) {
	d.buf = append(d.buf, p...)
	for d.err == nil {
		m := handlers.Messages{EOF: eof, Events: d}
		before := len(d.seen)
		n, err := d.codec.Decode(d.buf, &m)
		if m.Next != nil {
			d.codec = m.Next
		}
		d.out = append(d.out, m.Reply...)
		if d.echo {
			for _, s := range d.seen[before:] {
				kind, text, _ := strings.Cut(s, " ")
				k := handlers.Text
				if kind == "binary" {
					k = handlers.Binary
				}
				d.out = d.codec.AppendMessage(d.out, []byte(text), k)
			}
		}
		d.buf = append([]byte(nil), d.buf[n:]...)
		d.err = err
		if m.Next == nil {
			break
		}
	}
	if d.err != nil && !errors.Is(d.err, io.EOF) {
		d.out = d.codec.AppendClose(d.out, d.err)
	}
}

// feed gives the codec input in segments of the sizes that cut returns, then the end.
func feed(codec handlers.Codec, input []byte, cut func(left int) int) *driver {
	d := &driver{codec: codec}
	for p := bytes.Clone(input); len(p) > 0 && d.err == nil; {
		n := cut(len(p))
		d.turn(p[:n], false)
		p = p[n:]
	}
	if d.err == nil {
		d.turn(nil, true)
	}
	return d
}

func whole(left int) int { return left }
func bytewise(int) int   { return 1 }
func randomly(left int) int {
	return 1 + rand.IntN(left)
}

// frame is a client's frame: masked.
func frame(op ws.OpCode, fin bool, payload string) string {
	var b bytes.Buffer
	f := ws.NewFrame(op, fin, []byte(payload))
	f = ws.MaskFrameWith(f, [4]byte{1, 2, 3, 4})
	if err := ws.WriteFrame(&b, f); err != nil {
		panic(err)
	}
	return b.String()
}

func closeFrame(code int, reason string) string {
	return frame(ws.OpClose, true, string(binary.BigEndian.AppendUint16(nil, uint16(code)))+reason)
}

// replies describes the frames in b: their opcode and payload, close frames by code.
func replies(t testing.TB, b []byte) []string {
	t.Helper()
	var all []string
	for r := bytes.NewReader(b); r.Len() > 0; {
		h, err := ws.ReadHeader(r)
		if err != nil || h.Masked || !h.Fin || h.Rsv != 0 || h.Length > int64(r.Len()) {
			t.Fatalf("reply %q: %+v, %v", b, h, err)
		}
		payload := make([]byte, h.Length)
		_, _ = io.ReadFull(r, payload)
		switch h.OpCode {
		case ws.OpClose:
			code, _ := ws.ParseCloseFrameData(payload)
			all = append(all, fmt.Sprintf("close %d", code))
		case ws.OpPong:
			all = append(all, "pong "+string(payload))
		default:
			all = append(all, fmt.Sprintf("%d %s", h.OpCode, payload))
		}
	}
	return all
}

const (
	text   = ws.OpText
	binop  = ws.OpBinary
	cont   = ws.OpContinuation
	normal = "\x88\x82\x00\x00\x00\x00\x03\xe8" // Close 1000
)

// A case is what a client sends, and what comes of it however it is cut into segments.
type frameCase struct {
	name     string
	in       string
	messages []string
	replies  []string
	err      error // nil: the connection is closed in good order
}

var protocol = handlers.ErrProtocol

// frameCases follow the sections of Autobahn's test suite.
var frameCases = []frameCase{
	{"1.1 text", frame(text, true, "") + frame(text, true, "hello") + normal, []string{"text ", "text hello"}, []string{"close 1000"}, nil},
	{"1.2 binary", frame(binop, true, "\xff\x00") + normal, []string{"binary \xff\x00"}, []string{"close 1000"}, nil},
	{"2 ping", frame(ws.OpPing, true, "a\xffb") + frame(ws.OpPong, true, "unasked") + normal, nil, []string{"pong a\xffb", "close 1000"}, nil},
	{"2.5 ping of 126", "\x89\xfe\x00\x7e", nil, []string{"close 1002"}, protocol},
	{"2.10 ten pings", strings.Repeat(frame(ws.OpPing, true, "p"), 10) + normal, nil, append(slicesRepeat("pong p", 10), "close 1000"), nil},
	{"3.1 rsv", frame(text, true, "ok") + "\xc1\x80\x00\x00\x00\x00", []string{"text ok"}, []string{"close 1002"}, protocol},
	{"3.2 rsv2 on a fragment", frame(text, false, "a") + "\xa0\x80", nil, []string{"close 1002"}, protocol},
	{"4.1 reserved opcode", "\x83\x80", nil, []string{"close 1002"}, protocol},
	{"4.2 reserved control opcode", "\x8b\x80", nil, []string{"close 1002"}, protocol},
	{"5.1 fragmented ping", "\x09\x80", nil, []string{"close 1002"}, protocol},
	{"5.3 two fragments", frame(text, false, "he") + frame(cont, true, "llo") + normal, []string{"text hello"}, []string{"close 1000"}, nil},
	{
		"5.6 ping between fragments", frame(text, false, "he") + frame(ws.OpPing, true, "p") + frame(cont, true, "llo") + normal,
		[]string{"text hello"},
		[]string{"pong p", "close 1000"},
		nil,
	},
	{"5.9 nothing to continue", frame(cont, true, "x"), nil, []string{"close 1002"}, protocol},
	{"5.15 a message within one", frame(text, false, "a") + frame(text, true, "b"), nil, []string{"close 1002"}, protocol},
	{"6 utf-8", frame(text, true, "κόσμε") + normal, []string{"text κόσμε"}, []string{"close 1000"}, nil},
	{"6.2 utf-8 over fragments", frame(text, false, "\xce") + frame(cont, false, "") + frame(cont, true, "\xba") + normal, []string{"text κ"}, []string{"close 1000"}, nil},
	{"6.3 invalid", frame(text, true, "a\xed\xa0\x80b"), nil, []string{"close 1007"}, handlers.ErrInvalidText},
	{"6.4 invalid in a fragment", frame(text, false, "ab\xf4\x90"), nil, []string{"close 1007"}, handlers.ErrInvalidText},
	{"6.5 cut short", frame(text, true, "\xce"), nil, []string{"close 1007"}, handlers.ErrInvalidText},
	{"6.6 cut short over fragments", frame(text, false, "\xe2\x82") + frame(cont, true, ""), nil, []string{"close 1007"}, handlers.ErrInvalidText},
	{"7.1 data after close", normal + frame(text, true, "late") + frame(ws.OpPing, true, "late"), nil, []string{"close 1000"}, nil},
	{"7.3 close of no bytes", "\x88\x80\x00\x00\x00\x00", nil, []string{"close 0"}, nil},
	{"7.3 close of one byte", frame(ws.OpClose, true, "\x03"), nil, []string{"close 1002"}, protocol},
	{"7.3 reason", closeFrame(1000, strings.Repeat("r", 123)), nil, []string{"close 1000"}, nil},
	{"7.5 invalid reason", closeFrame(1000, "\xff"), nil, []string{"close 1002"}, protocol},
	{"echo comes before the failing close (row 17)", frame(text, true, "first") + "\x8f\x80", []string{"text first"}, []string{"close 1002"}, protocol},
	{"unmasked", "\x81\x02hi", nil, []string{"close 1002"}, protocol},
	{"a length with its highest bit (row 23)", "\x82\xff\x80\x00\x00\x00\x00\x00\x00\x01", nil, []string{"close 1002"}, protocol},
	{"a length that is not minimal (row 23)", "\x81\xfe\x00\x01\x00\x00\x00\x00a" + normal, []string{"text a"}, []string{"close 1000"}, nil},
	{"the end without a close", frame(text, true, "a"), []string{"text a"}, nil, io.ErrUnexpectedEOF},
	{"the end within a frame", frame(text, true, "abc")[:7], nil, nil, io.ErrUnexpectedEOF},
}

func slicesRepeat(s string, n int) (all []string) {
	for range n {
		all = append(all, s)
	}
	return all
}

func TestFrames(t *testing.T) {
	for _, tt := range frameCases {
		for name, cut := range map[string]func(int) int{"whole": whole, "bytewise": bytewise, "cut": randomly} {
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				d := feed((&Handler{}).frames(), []byte(tt.in), cut)
				if got, want := d.seen, tt.messages; fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("messages %q, want %q", got, want)
				}
				if got, want := replies(t, d.out), tt.replies; fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("replies %q, want %q", got, want)
				}
				if want := tt.err; want == nil && !errors.Is(d.err, io.EOF) || want != nil && !errors.Is(d.err, want) {
					t.Errorf("error %v, want %v", d.err, want)
				}
			})
		}
	}
}

// Sizes around those at which the header grows.
func TestSizes(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 128, 65535, 65536, 1 << 20} {
		in := []byte(frame(binop, true, strings.Repeat("x", n)) + normal)
		d := feed((&Handler{Limit: 1 << 20}).frames(), in, func(left int) int { return min(left, 4096) })
		if len(d.seen) != 1 || len(d.seen[0]) != len("binary ")+n || !errors.Is(d.err, io.EOF) {
			t.Errorf("%d bytes: %d messages, %v", n, len(d.seen), d.err)
		}
		f := (&Handler{}).frames()
		out := f.AppendMessage(nil, bytes.Repeat([]byte("y"), n), handlers.Binary)
		if got := replies(t, out); len(got) != 1 || len(got[0]) != len("2 ")+n {
			t.Errorf("%d bytes: sent %d frames", n, len(got))
		}
	}
}

func TestTraps4Row13CloseCodes(t *testing.T) {
	valid := []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999}
	invalid := []int{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535}
	for _, code := range valid {
		d := feed((&Handler{}).frames(), []byte(closeFrame(code, "bye")), whole)
		if got := fmt.Sprint(replies(t, d.out)); got != fmt.Sprintf("[close %d]", code) {
			t.Errorf("%d is answered with %s", code, got)
		}
		var ce *CloseError
		if odd := code != 1000 && code != 1001; errors.As(d.err, &ce) != odd || odd && (ce.Code != code || ce.Reason != "bye") {
			t.Errorf("%d: error %v", code, d.err)
		}
	}
	for _, code := range invalid {
		d := feed((&Handler{}).frames(), []byte(closeFrame(code, "")), whole)
		if got := fmt.Sprint(replies(t, d.out)); got != "[close 1002]" {
			t.Errorf("%d is answered with %s", code, got)
		}
	}
}

// The text is refused when its bad byte comes, not at the end of its frame.
func TestTraps4Row18FailFast(t *testing.T) {
	in := frame(text, true, "good \xff and a lot that never comes")
	d := &driver{codec: (&Handler{}).frames()}
	for i := range len(in) {
		d.turn([]byte(in[i:i+1]), false)
		if want := i >= 6+5; (d.err != nil) != want {
			t.Fatalf("after %d bytes: %v", i+1, d.err)
		}
		if d.err != nil {
			break
		}
	}
	if !errors.Is(d.err, handlers.ErrInvalidText) {
		t.Errorf("error %v", d.err)
	}
}

func TestTraps4Row20PingFlood(t *testing.T) {
	f := (&Handler{}).frames()
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
	h := &Handler{Limit: 10, MaxFragments: 4}
	for name, tt := range map[string]struct {
		in   string
		long bool
	}{
		"as long as allowed":     {frame(text, true, "0123456789"), false},
		"announced too long":     {"\x81\x8b", true},
		"huge":                   {"\x82\xff\x00\x00\x00\xff\xff\xff\xff\xff", true},
		"fragments too long":     {frame(text, false, "01234") + frame(cont, true, "567890"), true},
		"fragments just right":   {frame(text, false, "01234") + frame(cont, true, "56789"), false},
		"too many empty":         {frame(text, false, "") + strings.Repeat(frame(cont, false, ""), 4), true},
		"control frames are not": {frame(ws.OpPing, true, "01234567890123"), false},
	} {
		d := feed(h.frames(), []byte(tt.in), whole)
		if got := errors.Is(d.err, handlers.ErrTooLong); got != tt.long {
			t.Errorf("%s: %v", name, d.err)
		}
		if all := fmt.Sprint(replies(t, d.out)); tt.long && all != "[close 1009]" {
			t.Errorf("%s: %s", name, all)
		}
	}
}

// After our Close, which is sent once, nothing is sent, and nothing is wanted but the peer's: rows 14 and 15.
func TestTraps4Row15ServerCloses(t *testing.T) {
	f := (&Handler{}).frames()
	out := f.AppendClose(nil, nil)
	out = f.AppendClose(out, handlers.ErrShutdown)
	out = f.AppendMessage(out, []byte("late"), handlers.Text)
	if got := fmt.Sprint(replies(t, out)); got != "[close 1000]" {
		t.Errorf("sent %s", got)
	}
	in := frame(text, true, "ignored") + frame(ws.OpPing, true, "") + frame(binop, true, strings.Repeat("x", 1<<10)) + normal
	for name, cut := range map[string]func(int) int{"whole": whole, "bytewise": bytewise} {
		f := (&Handler{}).frames()
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
		if got := fmt.Sprint(replies(t, (&Handler{}).frames().AppendClose(nil, err))); got != want {
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
		{"a", handlers.Auto, "1 a"},
		{"\xff", handlers.Auto, "2 \xff"},
		{"a", handlers.Text, "1 a"},
		{"\xff", handlers.Text, "2 \xff"},
		{"a", handlers.Binary, "2 a"},
	} {
		if got := replies(t, (&Handler{}).frames().AppendMessage(nil, []byte(tt.msg), tt.kind)); got[0] != tt.want {
			t.Errorf("%q as %v: %q", tt.msg, tt.kind, got[0])
		}
	}
}

func TestEchoDoesNotAllocate(t *testing.T) {
	f := (&Handler{}).frames()
	in, buf, out := []byte(frame(text, true, strings.Repeat("x", 64))), make([]byte, 0, 128), make([]byte, 0, 128)
	events := &nobody{}
	m := handlers.Messages{Events: events}
	n := testing.AllocsPerRun(100, func() {
		buf = append(buf[:0], in...)
		if _, err := f.Decode(buf, &m); err != nil {
			t.Fatal(err)
		}
		out = f.AppendMessage(out[:0], events.last, handlers.Text)
	})
	if n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// nobody keeps the last message.
type nobody struct{ last []byte }

func (*nobody) Connect(*handlers.Info)       {}
func (n *nobody) Message(m handlers.Message) { n.last = m.Data }

func FuzzDecode(f *testing.F) {
	for _, tt := range frameCases {
		f.Add([]byte(tt.in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		h := &Handler{Limit: 1 << 12, MaxFragments: 8}
		a, b, c := feed(h.frames(), in, whole), feed(h.frames(), in, bytewise), feed(h.frames(), in, randomly)
		want := fmt.Sprintf("%q %q", a.seen, replies(t, a.out))
		for _, d := range []*driver{b, c} {
			if got := fmt.Sprintf("%q %q", d.seen, replies(t, d.out)); got != want {
				t.Errorf("cut differently: %s, want %s", got, want)
			}
		}
		if a.err == nil {
			t.Error("no end")
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, size := range []int{64, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			f := (&Handler{}).frames()
			in := []byte(frame(binop, true, strings.Repeat("x", size)))
			buf := make([]byte, len(in))
			m := handlers.Messages{Events: &nobody{}}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				copy(buf, in)
				if _, err := f.Decode(buf, &m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
