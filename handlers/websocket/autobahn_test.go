package websocket

import (
	"fmt"
	"strings"
	"testing"

	"github.com/portluck/portluck/handlers"
)

// A frameCase has the input of a client, and what an echoing codec sends back, however the input is
// split.
type frameCase struct {
	name string // the case in Autobahn's test suite, if it is a number
	in   string
	want []string
	err  error // nil: the connection is closed normally
}

// autobahn has the sections of the suite that need no waiting and little memory, with the number of
// their cases. Cases that differ only in how they are split have the same bytes: every case is
// split in every way here.
var autobahn = []struct {
	section string
	count   int
	cases   func() []frameCase
}{
	{"1", 16, messageCases},
	{"2", 11, pingCases},
	{"3", 7, reservedBitCases},
	{"4", 10, reservedOpcodeCases},
	{"5", 20, fragmentCases},
	{"6", 145, textCases},
	{"7", 37, closeCases},
	{"10", 1, autoFragmentCases},
}

func TestAutobahn(t *testing.T) {
	for _, s := range autobahn {
		cases := s.cases()
		if len(cases) != s.count {
			t.Errorf("section %s: %d cases, want %d", s.section, len(cases), s.count)
		}
		names := map[string]bool{}
		for _, tt := range cases {
			if !strings.HasPrefix(tt.name, s.section+".") || names[tt.name] {
				t.Errorf("section %s has a case %s too much", s.section, tt.name)
			}
			names[tt.name] = true
			t.Run(tt.name, func(t *testing.T) { expect(t, tt.in, tt.want, tt.err) })
		}
	}
}

func messageCases() (all []frameCase) {
	for i, n := range []int{0, 125, 126, 127, 128, 65535, 65536, 65536} {
		s := strings.Repeat("*", n)
		all = append(all,
			frameCase{fmt.Sprintf("1.1.%d", i+1), frame(text, true, s) + normal, []string{"text " + s, "close 1000"}, nil},
			frameCase{fmt.Sprintf("1.2.%d", i+1), frame(binop, true, s) + normal, []string{"binary " + s, "close 1000"}, nil})
	}
	return all
}

func pingCases() []frameCase {
	const odd = "\x00\xff\xfe\xfd\xfc\xfb\x00\xff"
	long := strings.Repeat("\xfe", 125)
	var ten string
	var tenPongs []string
	for i := range 10 {
		ten += frame(ping, true, fmt.Sprint("payload-", i))
		tenPongs = append(tenPongs, fmt.Sprint("pong payload-", i))
	}
	tenPongs = append(tenPongs, "close 1000")
	return []frameCase{
		{"2.1", frame(ping, true, "") + normal, []string{"pong ", "close 1000"}, nil},
		{"2.2", frame(ping, true, "Hello, world!") + normal, []string{"pong Hello, world!", "close 1000"}, nil},
		{"2.3", frame(ping, true, odd) + normal, []string{"pong " + odd, "close 1000"}, nil},
		{"2.4", frame(ping, true, long) + normal, []string{"pong " + long, "close 1000"}, nil},
		{"2.5", frame(ping, true, long+"\xfe"), []string{"close 1002"}, protocol},
		{"2.6", frame(ping, true, long) + normal, []string{"pong " + long, "close 1000"}, nil},
		{"2.7", frame(pong, true, "") + normal, []string{"close 1000"}, nil},
		{"2.8", frame(pong, true, "unsolicited") + normal, []string{"close 1000"}, nil},
		{"2.9", frame(pong, true, "unsolicited") + frame(ping, true, "p") + normal, []string{"pong p", "close 1000"}, nil},
		{"2.10", ten + normal, tenPongs, nil},
		{"2.11", ten + normal, tenPongs, nil},
	}
}

// The echo comes before the close frame for the error: TRAPS part 4, row 17.
func reservedBitCases() []frameCase {
	hello := frame(text, true, "Hello")
	return []frameCase{
		{"3.1", rsv(1, text, "Hello"), []string{"close 1002"}, protocol},
		{"3.2", hello + rsv(2, text, "Hello") + frame(ping, true, ""), []string{"text Hello", "close 1002"}, protocol},
		{"3.3", hello + rsv(3, text, "Hello") + frame(ping, true, ""), []string{"text Hello", "close 1002"}, protocol},
		{"3.4", hello + rsv(4, text, "Hello") + frame(ping, true, ""), []string{"text Hello", "close 1002"}, protocol},
		{"3.5", rsv(5, binop, "\x00\xff"), []string{"close 1002"}, protocol},
		{"3.6", rsv(6, ping, "Hello"), []string{"close 1002"}, protocol},
		{"3.7", rsv(7, 8, ""), []string{"close 1002"}, protocol},
	}
}

func reservedOpcodeCases() (all []frameCase) {
	for i := range 5 {
		for j, kind := range []byte{3, 11} {
			var before, payload string
			var want []string
			if i > 1 {
				before, want = frame(text, true, "Hello"), []string{"text Hello"}
			}
			if i%2 == 1 {
				payload = "reserved opcode payload"
			}
			// gobwas cannot write a reserved opcode, so the frame is made as a text frame.
			bad := []byte(frame(text, true, payload))
			bad[0] = 0x80 | kind + byte(i)
			all = append(all, frameCase{
				fmt.Sprintf("4.%d.%d", j+1, i+1), before + string(bad) + frame(ping, true, ""), append(want, "close 1002"), protocol,
			})
		}
	}
	return all
}

func fragmentCases() []frameCase {
	two := frame(text, false, "fragment1") + frame(cont, true, "fragment2") + normal
	withPing := frame(text, false, "fragment1") + frame(ping, true, "ping") + frame(cont, true, "fragment2") + normal
	whole := []string{"text fragment1fragment2", "close 1000"}
	ponged := append([]string{"pong ping"}, whole...)
	fails := []string{"close 1002"}
	hello := frame(text, true, "Hello, world!")
	fin, open := frame(cont, true, "non-continuation payload")+hello, frame(cont, false, "non-continuation payload")+hello
	twice := func(fin bool) string {
		s := frame(cont, fin, "fragment1") + frame(text, false, "fragment2") + frame(cont, true, "fragment3")
		return s + s
	}
	five := frame(text, false, "fragment1") + frame(cont, false, "fragment2") + frame(ping, true, "pongme 1!") +
		frame(cont, false, "fragment3") + frame(cont, false, "fragment4") + frame(ping, true, "pongme 2!") +
		frame(cont, true, "fragment5") + normal
	fiveWant := []string{"pong pongme 1!", "pong pongme 2!", "text fragment1fragment2fragment3fragment4fragment5", "close 1000"}
	return []frameCase{
		{"5.1", frame(ping, false, "fragment1") + frame(cont, true, "fragment2"), fails, protocol},
		{"5.2", frame(pong, false, "fragment1") + frame(cont, true, "fragment2"), fails, protocol},
		{"5.3", two, whole, nil},
		{"5.4", two, whole, nil},
		{"5.5", two, whole, nil},
		{"5.6", withPing, ponged, nil},
		{"5.7", withPing, ponged, nil},
		{"5.8", withPing, ponged, nil},
		{"5.9", fin, fails, protocol},
		{"5.10", fin, fails, protocol},
		{"5.11", fin, fails, protocol},
		{"5.12", open, fails, protocol},
		{"5.13", open, fails, protocol},
		{"5.14", open, fails, protocol},
		{"5.15", strings.TrimSuffix(two, normal) + open, []string{"text fragment1fragment2", "close 1002"}, protocol},
		{"5.16", twice(false), fails, protocol},
		{"5.17", twice(true), fails, protocol},
		{"5.18", frame(text, false, "fragment1") + frame(text, true, "fragment2"), fails, protocol},
		{"5.19", five, fiveWant, nil},
		{"5.20", five, fiveWant, nil},
	}
}

func closeCases() []frameCase {
	hello, echoed := frame(text, true, "Hello World!"), []string{"close 1000"}
	long, longest := strings.Repeat("BAsd7&jh23", 26215)[:256<<10], strings.Repeat("*", 123)
	all := []frameCase{
		{"7.1.1", hello + normal, []string{"text Hello World!", "close 1000"}, nil},
		{"7.1.2", normal + normal, echoed, nil},
		{"7.1.3", normal + frame(ping, true, ""), echoed, nil},
		{"7.1.4", normal + hello, echoed, nil},
		{"7.1.5", frame(text, false, "fragment1") + normal + frame(cont, true, "fragment2"), echoed, nil},
		{"7.1.6", frame(text, true, long) + hello + normal + frame(ping, true, ""), []string{"text " + long, "text Hello World!", "close 1000"}, nil},
		{"7.3.1", frame(8, true, ""), []string{"close 0"}, nil},
		{"7.3.2", frame(8, true, "a"), []string{"close 1002"}, protocol},
		{"7.3.3", closeFrame(1000, ""), echoed, nil},
		{"7.3.4", closeFrame(1000, "Hello World!"), echoed, nil},
		{"7.3.5", closeFrame(1000, longest), echoed, nil},
		{"7.3.6", closeFrame(1000, longest+"*"), []string{"close 1002"}, protocol},
		{"7.5.1", closeFrame(1000, "κόσμε\xed\xa0\x80edited"), []string{"close 1002"}, protocol},
	}
	for i, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999} {
		var err error
		if code > 1001 {
			err = &CloseError{Code: code, Reason: "bye"}
		}
		all = append(all, frameCase{fmt.Sprintf("7.7.%d", i+1), closeFrame(code, "bye"), []string{fmt.Sprint("close ", code)}, err})
	}
	for i, code := range []int{0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999} {
		all = append(all, frameCase{fmt.Sprintf("7.9.%d", i+1), closeFrame(code, ""), []string{"close 1002"}, protocol})
	}
	for i, code := range []int{5000, 65535} {
		all = append(all, frameCase{fmt.Sprintf("7.13.%d", i+1), closeFrame(code, ""), []string{"close 1002"}, protocol})
	}
	return all
}

func autoFragmentCases() []frameCase {
	s := strings.Repeat("*", 65536)
	return []frameCase{{"10.1.1", split(text, s, 1300) + normal, []string{"text " + s, "close 1000"}, nil}}
}

// ourCases are additional cases, which Autobahn does not have.
var ourCases = []frameCase{
	{"a message of no frames", "", nil, ErrAbnormal},
	{"fragments of nothing", frame(text, false, "") + frame(cont, false, "") + frame(cont, true, "") + normal, []string{"text ", "close 1000"}, nil},
	{"binary fragments are not checked", split(binop, "\xff\xfe\xfd", 1) + normal, []string{"binary \xff\xfe\xfd", "close 1000"}, nil},
	{"a text message after one in fragments", split(text, "κ", 1) + frame(text, true, "κ") + normal, []string{"text κ", "text κ", "close 1000"}, nil},
	{"a ping between the fragments of a code point", frame(text, false, "\xce") + frame(ping, true, "\xff") + frame(cont, true, "\xba") + normal, []string{"pong \xff", "text κ", "close 1000"}, nil},
	{"a close between the fragments of a code point", frame(text, false, "\xce") + normal, []string{"close 1000"}, nil},
	{"unmasked", "\x81\x02hi", []string{"close 1002"}, protocol},
	{"row 2.5: a ping of 126 is refused at once", "\x89\xfe", []string{"close 1002"}, protocol},
	{"row 19: a fragmented ping", "\x09\x80", []string{"close 1002"}, protocol},
	{"row 23: a length with its highest bit", "\x82\xff\x80\x00\x00\x00\x00\x00\x00\x01", []string{"close 1002"}, protocol},
	{"row 23: a length that is not minimal", "\x81\xfe\x00\x01\x00\x00\x00\x00a" + normal, []string{"close 1002"}, protocol},
	{"the end without a close", frame(text, true, "a"), []string{"text a"}, ErrAbnormal},
	{"the end within a frame", frame(text, true, "abc")[:7], nil, ErrAbnormal},
	{"the end within a message", frame(text, false, "abc"), nil, ErrAbnormal},
	{"the end within a header", "\x81", nil, ErrAbnormal},
	{"invalid text in a frame that is not whole", frame(text, true, "ab\xffcdefgh")[:9], []string{"close 1007"}, handlers.ErrInvalidText},
}

func TestFrames(t *testing.T) {
	for _, tt := range ourCases {
		t.Run(tt.name, func(t *testing.T) { expect(t, tt.in, tt.want, tt.err) })
	}
}
