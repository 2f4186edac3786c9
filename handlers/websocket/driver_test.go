package websocket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gobwas/ws"
	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/testdata/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// driver feeds a codec as the loop does, and records the results. With echo it echoes messages.
type driver struct {
	codec handlers.Codec
	echo  bool
	buf   []byte
	out   []byte // sent to the peer
	seen  []string
	err   error // the error of Decode
	m     handlers.Messages
}

func (d *driver) Connect(info *handlers.Info) { d.seen = append(d.seen, "connect "+info.Protocol) }

func (d *driver) Message(m handlers.Message) {
	d.flush()
	if d.echo {
		d.out = d.codec.AppendMessage(d.out, m.Data, m.Kind)
		return
	}
	d.seen = append(d.seen, fmt.Sprintf("%v %s", m.Kind, m.Data))
}

// flush appends the codec's own answers, in order.
func (d *driver) flush() {
	d.out = append(d.out, d.m.Reply...)
	d.m.Reply = d.m.Reply[:0]
}

// turn feeds the bytes that have come to the codec. It overwrites those that the codec has
// consumed, to which it must keep no reference.
func (d *driver) turn(p []byte, eof bool) {
	d.buf = append(d.buf, p...)
	for d.err == nil {
		d.m = handlers.Messages{EOF: eof, Events: d}
		n, err := d.codec.Decode(d.buf, &d.m)
		d.flush()
		if d.err = err; n > 0 {
			left := copy(d.buf, d.buf[n:])
			clear(d.buf[left:])
			d.buf = d.buf[:left]
		}
		if d.m.Next == nil {
			break
		}
		d.codec = d.m.Next
	}
	if d.err != nil && !errors.Is(d.err, io.EOF) {
		d.out = d.codec.AppendClose(d.out, d.err)
	}
}

// run feeds input to the codec in segments of the sizes that cut returns, and then the end.
func (d *driver) run(input []byte, cut func(left int) int) {
	for p := input; len(p) > 0 && d.err == nil; {
		n := cut(len(p))
		d.turn(p[:n], false)
		p = p[n:]
	}
	if d.err == nil {
		d.turn(nil, true)
	}
}

// feed runs a codec without echoing.
func feed(codec handlers.Codec, input []byte, cut func(left int) int) *driver {
	d := &driver{codec: codec}
	d.run(input, cut)
	return d
}

// echo runs a codec, echoes every message, and describes what is sent.
func echo(t testing.TB, h *Handler, input []byte, cut func(left int) int) ([]string, error) {
	t.Helper()
	d := &driver{codec: h.frames(0), echo: true}
	d.run(input, cut)
	return replies(t, d.out), d.err
}

func whole(left int) int { return left }
func bytewise(int) int   { return 1 }
func randomly(left int) int {
	return 1 + rand.IntN(left)
}

// upTo splits input into segments of n bytes.
func upTo(n int) func(int) int { return func(left int) int { return min(left, n) } }

// cuts has the ways in which input is split.
var cuts = []struct {
	name string
	cut  func(left int) int
}{
	{"whole", whole},
	{"bytewise", bytewise},
	{"in threes", upTo(3)},
	{"in sevens", upTo(7)},
	{"cut", randomly},
	{"cut small", func(left int) int { return 1 + rand.IntN(min(left, 8)) }},
}

// frame returns a client's frame, which is masked.
func frame(op ws.OpCode, fin bool, payload string) string {
	var b bytes.Buffer
	f := ws.NewFrame(op, fin, []byte(payload))
	f = ws.MaskFrameWith(f, [4]byte{1, 2, 3, 4})
	if err := ws.WriteFrame(&b, f); err != nil {
		panic(err)
	}
	return b.String()
}

// rsv returns a client's frame with reserved bits.
func rsv(bits byte, op ws.OpCode, payload string) string {
	f := []byte(frame(op, true, payload))
	f[0] |= bits << 4
	return string(f)
}

func closeFrame(code int, reason string) string {
	return frame(ws.OpClose, true, string(binary.BigEndian.AppendUint16(nil, uint16(code)))+reason)
}

// split returns a message in frames of n bytes.
func split(op ws.OpCode, payload string, n int) string {
	var b []byte
	for first := true; first || payload != ""; first = false {
		k := min(n, len(payload))
		if !first {
			op = ws.OpContinuation
		}
		b = append(b, frame(op, k == len(payload), payload[:k])...)
		payload = payload[k:]
	}
	return string(b)
}

// replies describes the frames in b by their opcode and payload, close frames by their code.
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
		case ws.OpText:
			all = append(all, "text "+string(payload))
		case ws.OpBinary:
			all = append(all, "binary "+string(payload))
		default:
			t.Fatalf("reply %q: opcode %d", b, h.OpCode)
		}
	}
	return all
}

// ended reports whether err is want, or io.EOF if want is nil: the connection is closed normally.
func ended(err, want error) bool {
	var got, closed *CloseError
	switch {
	case want == nil:
		return errors.Is(err, io.EOF) && !errors.Is(err, ErrAbnormal)
	case errors.As(want, &closed):
		return errors.As(err, &got) && *got == *closed
	}
	return errors.Is(err, want)
}

// expect runs input through an echoing codec, split in every way. Of a long input only the
// beginning is split into bytes.
func expect(t *testing.T, input string, want []string, wantErr error) {
	t.Helper()
	for i, c := range cuts {
		if small := c.cut; i > 0 && len(input) > 16<<10 {
			c.cut = func(left int) int {
				if left > len(input)-64 {
					return small(min(left, 64))
				}
				return min(left, 997)
			}
		}
		got, err := echo(t, &Handler{}, []byte(input), c.cut)
		if !slices.Equal(got, want) {
			t.Errorf("%s: sent %.300q, want %.300q", c.name, got, want)
		}
		if !ended(err, wantErr) {
			t.Errorf("%s: error %v, want %v", c.name, err, wantErr)
		}
	}
}

const (
	text   = ws.OpText
	binop  = ws.OpBinary
	cont   = ws.OpContinuation
	ping   = ws.OpPing
	pong   = ws.OpPong
	normal = "\x88\x82\x00\x00\x00\x00\x03\xe8" // Close 1000
)

var protocol = handlers.ErrProtocol
