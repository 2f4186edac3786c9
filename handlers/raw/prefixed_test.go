package raw

import (
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/chunktest"
)

var prefixedTests = []struct {
	name  string
	codec Prefixed
	in    string
	want  []string
	err   error
}{
	{name: "nothing"},
	{name: "one", in: "\x00\x00\x00\x02ab", want: []string{"ab"}},
	{name: "empty ones", in: "\x00\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x00\x00", want: []string{"", "a", ""}},
	{name: "byte", codec: Prefixed{Size: 1}, in: "\x01a\x02bc", want: []string{"a", "bc"}},
	{name: "two bytes", codec: Prefixed{Size: 2}, in: "\x00\x01a\x00\x02bc", want: []string{"a", "bc"}},
	{name: "two bytes, little endian", codec: Prefixed{Size: 2, LittleEndian: true}, in: "\x01\x00a\x02\x00bc", want: []string{"a", "bc"}},
	{name: "three bytes", codec: Prefixed{Size: 3, LittleEndian: true}, in: "\x01\x00\x00a", want: []string{"a"}},
	{name: "four bytes, little endian", codec: Prefixed{LittleEndian: true}, in: "\x01\x00\x00\x00a", want: []string{"a"}},
	{name: "eight bytes", codec: Prefixed{Size: 8}, in: "\x00\x00\x00\x00\x00\x00\x00\x01a", want: []string{"a"}},
	{name: "varint", codec: Prefixed{Varint: true}, in: "\x01a\x80\x01" + strings.Repeat("b", 128), want: []string{"a", strings.Repeat("b", 128)}},
	{name: "varint, longer than need be", codec: Prefixed{Varint: true}, in: "\x81\x80\x00a", want: []string{"a"}},
	{name: "varint without end", codec: Prefixed{Varint: true}, in: strings.Repeat("\x80", 11), err: handlers.ErrProtocol},
	{name: "ten bytes of a varint without end", codec: Prefixed{Varint: true}, in: strings.Repeat("\x80", 10), err: handlers.ErrProtocol},
	{name: "varint over 64 bits", codec: Prefixed{Varint: true}, in: strings.Repeat("\xff", 9) + "\x02", err: handlers.ErrProtocol},
	{name: "over the limit", codec: Prefixed{Size: 1, Limit: 2}, in: "\x02ab\x03", want: []string{"ab"}, err: handlers.ErrTooLong},
	{name: "over the default limit", in: "\x00\x10\x00\x01", err: handlers.ErrTooLong},
	{name: "all that 64 bits can tell", codec: Prefixed{Size: 8, Limit: -1}, in: strings.Repeat("\xff", 8), err: handlers.ErrTooLong},
	{name: "truncated prefix", in: "\x00\x00", err: io.ErrUnexpectedEOF},
	{name: "truncated message", codec: Prefixed{Size: 1}, in: "\x01a\x02b", want: []string{"a"}, err: io.ErrUnexpectedEOF},
	{name: "truncated varint", codec: Prefixed{Varint: true}, in: "\x80", err: io.ErrUnexpectedEOF},
}

func TestPrefixed(t *testing.T) {
	for _, test := range prefixedTests {
		t.Run(test.name, func(t *testing.T) {
			chunktest.Each(test.in, func(chunks [][]byte) bool {
				codec := test.codec
				got, err := feed(&codec, chunks...)
				if !slices.Equal(got.msgs, test.want) || !errors.Is(err, test.err) {
					t.Errorf("Decode(%q) = %q, %v, want %q, %v", chunks, got.msgs, err, test.want, test.err)
				}
				return !t.Failed()
			})
		})
	}
}

// TRAPS part 2, row 8: an announced length takes no memory.
func TestTraps2Row8AnnouncedLengthTakesNoMemory(t *testing.T) {
	codec := &Prefixed{Limit: -1}
	m := &handlers.Messages{Events: deaf{}}
	in := []byte("\x00\x00\x00\x01a\x0f\xff\xff\xffb")
	if n := testing.AllocsPerRun(100, func() {
		if n, err := codec.Decode(in, m); n != 5 || err != nil {
			t.Fatalf("Decode = %d, %v, want 5, nil", n, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func TestPrefixedAppend(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, test := range []struct {
		name  string
		codec Prefixed
		msg   string
		want  string
	}{
		{"zero value", Prefixed{}, "ab", "\x00\x00\x00\x02ab"},
		{"empty", Prefixed{Size: 2}, "", "\x00\x00"},
		{"byte", Prefixed{Size: 1}, "ab", "\x02ab"},
		{"little endian", Prefixed{Size: 2, LittleEndian: true}, long, "\x2c\x01" + long},
		{"varint", Prefixed{Varint: true}, long, "\xac\x02" + long},
		{"as much as a byte can tell", Prefixed{Size: 1}, long[:255], "\xff" + long[:255]},
		{"more than a byte can tell", Prefixed{Size: 1}, long, "\xff" + long[:255] + "\x2d" + long[:45]},
	} {
		t.Run(test.name, func(t *testing.T) {
			codec := test.codec
			if got := string(codec.AppendMessage([]byte("-"), []byte(test.msg), handlers.Auto)); got != "-"+test.want {
				t.Errorf("AppendMessage = %q, want %q", got, "-"+test.want)
			}
			if got := string(codec.AppendWrite([]byte("-"), []byte(test.msg), handlers.Auto)); got != "-"+test.msg {
				t.Errorf("AppendWrite = %q, want %q", got, "-"+test.msg)
			}
			if got := codec.AppendClose(nil, handlers.ErrTooLong); len(got) > 0 {
				t.Errorf("AppendClose = %q, want nothing", got)
			}
		})
	}
	if got, want := (&Prefixed{Size: 8}).most(), uint64(math.MaxUint64); got != want {
		t.Errorf("most() = %d, want %d", got, want)
	}
}

func FuzzPrefixed(f *testing.F) {
	for _, test := range prefixedTests {
		f.Add([]byte(test.in), test.codec.Size, test.codec.LittleEndian, test.codec.Varint, test.codec.Limit, uint64(3))
	}
	f.Fuzz(func(t *testing.T, in []byte, size int, little, varint bool, limit int, cuts uint64) {
		if len(in) > 4<<10 {
			return // the test is slow on long ones
		}
		// It keeps no state.
		codec := &Prefixed{Size: size, LittleEndian: little, Varint: varint, Limit: limit}
		want, wantErr := feed(codec, in)
		for _, chunks := range [][][]byte{
			chunktest.At(string(in), func(i int) bool { return cuts>>(i%64)&1 == 1 }),
			chunktest.Of(string(in), 1),
		} {
			h, err := feed(codec, chunks...)
			if !slices.Equal(h.msgs, want.msgs) || !errors.Is(err, wantErr) {
				t.Errorf("Decode(%q) = %q, %v, in one piece %q, %v", chunks, h.msgs, err, want.msgs, wantErr)
			}
		}
		var again []byte
		for _, msg := range want.msgs {
			again = codec.AppendMessage(again, []byte(msg), handlers.Auto)
		}
		if h, err := feed(codec, again); err != nil || !slices.Equal(h.msgs, want.msgs) {
			t.Errorf("the messages %q come back as %q, %v", want.msgs, h.msgs, err)
		}
		if wantErr == nil && !varint && string(again) != string(in) {
			t.Errorf("%q is encoded as %q", in, again)
		}
	})
}
