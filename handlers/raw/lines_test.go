package raw

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/chunktest"
)

var linesTests = []struct {
	name  string
	codec Lines
	in    string
	want  []string
	err   error
}{
	{name: "nothing", in: ""},
	{name: "one line", in: "a\n", want: []string{"a"}},
	{name: "P1 a line and FIN", in: `{"test":true}` + "\n", want: []string{`{"test":true}`}},
	{name: "P3 no line end before FIN", in: "tail", want: []string{"tail"}},
	{name: "P10 two lines", in: "{}\n{}\n", want: []string{"{}", "{}"}},
	{name: "three lines, the last one open", in: "a\nb\nc", want: []string{"a", "b", "c"}},
	{name: "CR stays", in: "a\r\nb\r", want: []string{"a\r", "b\r"}},
	{name: "empty lines are messages", in: "\n\na\n\n", want: []string{"", "", "a", ""}},
	{name: "NUL and high bytes", in: "\x00\xff\n\x80", want: []string{"\x00\xff", "\x80"}},
	{name: "CRLF as delimiter", codec: Lines{Delimiter: "\r\n"}, in: "a\nb\r\nc\r\r\nd\r", want: []string{"a\nb", "c\r", "d\r"}},
	{name: "NUL as delimiter", codec: Lines{Delimiter: "\x00"}, in: "a\n\x00b\x00", want: []string{"a\n", "b"}},
	{name: "delimiter that overlaps itself", codec: Lines{Delimiter: "aab"}, in: "aaab-aabaab", want: []string{"a", "-", ""}},
	{name: "exactly the limit", codec: Lines{Limit: 3}, in: "abc\nabc", want: []string{"abc", "abc"}},
	{name: "over the limit", codec: Lines{Limit: 3}, in: "a\nabcd\nb\n", want: []string{"a"}, err: handlers.ErrTooLong},
	{name: "over the limit at FIN", codec: Lines{Limit: 3}, in: "abcd", err: handlers.ErrTooLong},
	{name: "the limit and part of a delimiter", codec: Lines{Limit: 3, Delimiter: "\r\n"}, in: "abc\r\n", want: []string{"abc"}},
	{name: "over the limit by what was no delimiter", codec: Lines{Limit: 3, Delimiter: "\r\n"}, in: "abc\rd\r\n", err: handlers.ErrTooLong},
	{name: "no limit", codec: Lines{Limit: -1}, in: "abcd\n", want: []string{"abcd"}},
	{name: "P21 P22 the last bytes", codec: Lines{Limit: 5, Tail: true}, in: "0123456789abc\n", want: []string{"89abc"}},
	{name: "the last bytes at FIN", codec: Lines{Limit: 5, Tail: true}, in: "0123456789abc", want: []string{"89abc"}},
	{name: "the last bytes of each", codec: Lines{Limit: 2, Tail: true}, in: "abc\n\nd\nefgh", want: []string{"bc", "", "d", "gh"}},
	{name: "the last bytes with a long delimiter", codec: Lines{Limit: 2, Tail: true, Delimiter: "--"}, in: "abc-d--e-f", want: []string{"-d", "-f"}},
	{name: "the last bytes unguarded", codec: Lines{Limit: 2, Tail: true, AllowHTTP: true, Delimiter: "--"}, in: "abc-d--e-f-g", want: []string{"-d", "-g"}},
}

func TestLines(t *testing.T) {
	for _, test := range linesTests {
		t.Run(test.name, func(t *testing.T) {
			chunktest.Each(test.in, func(chunks [][]byte) bool {
				codec := test.codec
				got, err := feed(&codec, chunks...)
				if !slices.Equal(got.msgs, test.want) || !errors.Is(err, test.err) {
					t.Errorf("Decode(%q) = %q, %v, want %q, %v", chunks, got.msgs, err, test.want, test.err)
				}
				if got.reply != "" {
					t.Errorf("Reply = %q, want none", got.reply)
				}
				return !t.Failed()
			})
		})
	}
}

func TestLinesDefaultLimit(t *testing.T) {
	line := strings.Repeat("x", DefaultLimit)
	if got, err := feed(&Lines{}, chunktest.Of(line+"\n", 64<<10)...); err != nil || len(got.msgs) != 1 {
		t.Errorf("%d bytes: %d messages, %v, want 1, nil", len(line), len(got.msgs), err)
	}
	got, err := feed(&Lines{}, chunktest.Of(line+"x", 64<<10)...)
	if !errors.Is(err, handlers.ErrTooLong) || got.held > DefaultLimit {
		t.Errorf("one byte more: held %d, %v, want at most %d, %v", got.held, err, DefaultLimit, handlers.ErrTooLong)
	}
}

func TestLinesTailIsBounded(t *testing.T) {
	const limit = 5
	line := strings.Repeat("x", 1<<20) + "89abc"
	for _, test := range []struct {
		name  string
		codec Lines
		most  int
	}{
		{"unguarded", Lines{Limit: limit, Tail: true, AllowHTTP: true}, limit},
		{"guarded", Lines{Limit: limit, Tail: true}, guardWindow},
		{"long delimiter", Lines{Limit: limit, Tail: true, AllowHTTP: true, Delimiter: "\r\n\r\n"}, limit + 3},
		{"no limit reached", Lines{Limit: 2 << 20, Tail: true}, 2 << 20},
	} {
		t.Run(test.name, func(t *testing.T) {
			codec := test.codec
			got, err := feed(&codec, chunktest.Of(line+codec.delimiter(), 4<<10)...)
			if err != nil || len(got.msgs) != 1 || !strings.HasSuffix(got.msgs[0], "89abc") {
				t.Fatalf("Decode = %d messages, %v, want one that ends with 89abc", len(got.msgs), err)
			}
			if got.held > test.most {
				t.Errorf("held %d bytes between reads, want at most %d", got.held, test.most)
			}
		})
	}
}

// Lines does not search bytes again for a delimiter: a line of n bytes takes O(n) time even if it
// arrives byte by byte.
func TestLinesLooksAtEachByteOnce(t *testing.T) {
	for _, delim := range []string{"\n", "\r\n", "aab"} {
		codec := Lines{Delimiter: delim, AllowHTTP: true}
		h := &heard{}
		m := &handlers.Messages{Events: h}
		in := []byte(strings.Repeat("x", 1000))
		if n, err := codec.Decode(in, m); n != 0 || err != nil {
			t.Fatalf("Decode = %d, %v, want 0, nil", n, err)
		}
		copy(in[10:], delim) // these bytes must not be searched again
		in = append(in, delim...)
		if n, err := codec.Decode(in, m); n != len(in) || err != nil {
			t.Fatalf("Decode = %d, %v, want %d, nil", n, err, len(in))
		}
		if len(h.msgs) != 1 || len(h.msgs[0]) != 1000 {
			t.Errorf("delimiter %q: %d messages, want one of 1000 bytes", delim, len(h.msgs))
		}
	}
}

func TestLinesAppend(t *testing.T) {
	codec := &Lines{Delimiter: "\r\n"}
	if got, want := string(codec.AppendWrite([]byte("x"), []byte("a\n"), handlers.Text)), "xa\n"; got != want {
		t.Errorf("AppendWrite = %q, want %q", got, want)
	}
	if got, want := string(codec.AppendMessage([]byte("x"), []byte("a"), handlers.Binary)), "xa\r\n"; got != want {
		t.Errorf("AppendMessage = %q, want %q", got, want)
	}
	if got, want := string((&Lines{}).AppendMessage(nil, nil, handlers.Auto)), "\n"; got != want {
		t.Errorf("AppendMessage = %q, want %q", got, want)
	}
}

func TestLinesAppendClose(t *testing.T) {
	for _, test := range []struct {
		name   string
		codec  Lines
		reason error
		want   string
	}{
		{name: "normal end"},
		{name: "shutdown", reason: handlers.ErrShutdown},
		{name: "timeout", reason: handlers.ErrTimeout},
		{name: "slow", reason: handlers.ErrSlow},
		{name: "read error", reason: io.ErrUnexpectedEOF},
		{name: "too long", reason: handlers.ErrTooLong, want: "error: message longer than 1048576 bytes\n"},
		{
			name: "too long, wrapped", codec: Lines{Limit: 5, Delimiter: "\r\n"}, reason: fmt.Errorf("x: %w", handlers.ErrTooLong),
			want: "error: message longer than 5 bytes\r\n",
		},
		{name: "panic", reason: handlers.ErrPanic, want: "error: internal server error\n"},
		{name: "policy", reason: handlers.ErrPolicy, want: "error: refused\n"},
		{name: "http", reason: errHTTP, want: httpRefusal},
	} {
		t.Run(test.name, func(t *testing.T) {
			codec := test.codec
			got := string(codec.AppendClose(nil, test.reason))
			if test.reason == errHTTP {
				head, body, _ := strings.Cut(got, "\r\n\r\n")
				if !strings.HasPrefix(head, "HTTP/1.1 400 Bad Request\r\nDate: ") {
					t.Errorf("head %q", head)
				}
				got = strings.TrimSuffix(body, "\n")
			}
			if got != test.want {
				t.Errorf("AppendClose(%v) = %q, want %q", test.reason, got, test.want)
			}
		})
	}
}

func TestLinesCostsLittle(t *testing.T) {
	if got, want := unsafe.Sizeof(Lines{}), uintptr(48); got > want {
		t.Errorf("sizeof(Lines) = %d, want at most %d", got, want)
	}
	in := []byte(strings.Repeat("hello, world\r\n", 50) + "the beginning of a line")
	for _, codec := range []*Lines{{}, {Delimiter: "\r\n"}, {Limit: 10, Tail: true}} {
		m := &handlers.Messages{Events: deaf{}}
		dst := make([]byte, 0, 64)
		if n := testing.AllocsPerRun(100, func() {
			codec.scanned = 0
			if _, err := codec.Decode(in, m); err != nil {
				t.Fatal(err)
			}
			dst = codec.AppendMessage(dst[:0], in[:12], handlers.Auto)
		}); n != 0 {
			t.Errorf("%+v: %v allocations for 50 lines, want 0", *codec, n)
		}
	}
}

// deaf drops the messages.
type deaf struct{}

func (deaf) Connect(*handlers.Info)   {}
func (deaf) Message(handlers.Message) {}

func BenchmarkLines(b *testing.B) {
	for _, size := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("%d bytes", size), func(b *testing.B) {
			in := bytes.Repeat(append(bytes.Repeat([]byte("x"), size-1), '\n'), 32<<10/size)
			codec, m := &Lines{}, &handlers.Messages{Events: deaf{}}
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if n, err := codec.Decode(in, m); n != len(in) || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}

func FuzzLines(f *testing.F) {
	for _, test := range linesTests {
		f.Add(test.in, test.codec.Delimiter, test.codec.Limit, test.codec.Tail, test.codec.AllowHTTP, uint64(3))
	}
	for _, test := range guardTests {
		f.Add(test.in, test.codec.Delimiter, test.codec.Limit, test.codec.Tail, test.codec.AllowHTTP, uint64(5))
	}
	f.Fuzz(func(t *testing.T, in, delim string, limit int, tail, allow bool, cuts uint64) {
		if len(in) > 4<<10 {
			return // the test is slow on long ones
		}
		codec := Lines{Delimiter: delim, Limit: limit, Tail: tail, AllowHTTP: allow}
		whole, pieces, bytewise := codec, codec, codec
		want, wantErr := feed(&whole, []byte(in))
		for _, got := range []struct {
			codec  *Lines
			chunks [][]byte
		}{
			{&pieces, chunktest.At(in, func(i int) bool { return cuts>>(i%64)&1 == 1 })},
			{&bytewise, chunktest.Of(in, 1)},
		} {
			h, err := feed(got.codec, got.chunks...)
			if !slices.Equal(h.msgs, want.msgs) || !errors.Is(err, wantErr) {
				t.Errorf("Decode(%q) = %q, %v, in one piece %q, %v", got.chunks, h.msgs, err, want.msgs, wantErr)
			}
		}
		if all := strings.Join(want.msgs, codec.delimiter()); wantErr == nil && !tail && all != in && all+codec.delimiter() != in {
			t.Errorf("the messages of %q are %q: bytes are lost", in, want.msgs)
		}
		for _, msg := range want.msgs {
			if limit := limitOf(limit); len(msg) > limit {
				t.Errorf("message of %d bytes, want at most %d", len(msg), limit)
			}
		}
	})
}
