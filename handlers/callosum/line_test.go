package callosum

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/portluck/portluck/handlers"
)

func TestReadLine(t *testing.T) {
	for _, test := range []struct {
		name, in string
		slot     int
		rest     string
		err      error
	}{
		{name: "the document's", in: "13\r\n", slot: 13},
		{name: "first", in: "0\r\n"},
		{name: "with the application's bytes", in: "173\r\nhello", slot: 173, rest: "hello"},
		{name: "zeros first", in: "007\r\n", slot: 7},
		{name: "the highest", in: strconv.Itoa(int(^uint(0)>>1)) + "\r\n", slot: int(^uint(0) >> 1)},
		{name: "too high", in: "9999999999999999999\r\n", err: handlers.ErrProtocol},
		{name: "too long", in: "00000000000000000000007\r\n", err: handlers.ErrProtocol},
		{name: "endless digits", in: strings.Repeat("1", 1<<16), err: handlers.ErrProtocol},
		{name: "not a number", in: "foo\r\n", err: handlers.ErrProtocol},
		{name: "upstream's word for none", in: "undefined\r\n", err: handlers.ErrProtocol},
		{name: "negative", in: "-1\r\n", err: handlers.ErrProtocol},
		{name: "only LF", in: "13\n", err: handlers.ErrProtocol},
		{name: "CR and no LF", in: "13\rx", err: handlers.ErrProtocol},
		{name: "empty line", in: "\r\n", err: handlers.ErrProtocol},
		{name: "HTTP", in: "HTTP/1.1 400 Bad Request\r\n", err: handlers.ErrProtocol},
		{name: "nothing", in: "", err: io.ErrUnexpectedEOF},
		{name: "half", in: "13", err: io.ErrUnexpectedEOF},
		{name: "without LF", in: "13\r", err: io.ErrUnexpectedEOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			for how, r := range map[string]io.Reader{
				"at once":   strings.NewReader(test.in),
				"by bytes":  iotest.OneByteReader(strings.NewReader(test.in)),
				"with EOF":  iotest.DataErrReader(strings.NewReader(test.in)),
				"by halves": iotest.HalfReader(strings.NewReader(test.in)),
			} {
				slot, rest, err := readLine(r)
				more, _ := io.ReadAll(r)
				if err != nil {
					more = nil
				}
				if slot != test.slot || string(rest)+string(more) != test.rest || !errors.Is(err, test.err) {
					t.Errorf("%s: readLine(%q) = %d, %q, %v, want %d, %q, %v", how, test.in, slot, rest, err, test.slot, test.rest, test.err)
				}
			}
		})
	}
}

func TestAppendLine(t *testing.T) {
	if got := string(appendLine(nil, 13)); got != "13\r\n" {
		t.Errorf("appendLine(13) = %q", got)
	}
}

func FuzzParseLine(f *testing.F) {
	for _, s := range []string{"13\r\n", "0\r\nrest", "undefined\r\n", "13\n", "13\r", "-1\r\n", "99999999999999999999\r\n", "\xff\r\n"} {
		f.Add([]byte(s))
	}
	upstream := regexp.MustCompile(`\A[0-9]+\r\n`)
	f.Fuzz(func(t *testing.T, in []byte) {
		slot, used, err := parseLine(in)
		line := upstream.Find(in)
		switch {
		case err != nil && used != 0, used < 0, used > len(in), slot < 0:
			t.Fatalf("parseLine(%q) = %d, %d, %v", in, slot, used, err)
		case used > 0:
			n, convErr := strconv.Atoi(string(in[:used-2]))
			if !bytes.Equal(line, in[:used]) || convErr != nil || n != slot {
				t.Fatalf("parseLine(%q) = %d, %d, %v, want the line %q", in, slot, used, err, line)
			}
		case err == nil && line != nil && len(line) <= maxLine:
			t.Fatalf("parseLine(%q) does not see the line", in)
		case err == nil && len(in) >= maxLine:
			t.Fatalf("parseLine(%q) wants more", in)
		}
		// However the line is split, the outcome is the same.
		whole, rest, wholeErr := readLine(bytes.NewReader(in))
		parts, _, partsErr := readLine(iotest.OneByteReader(bytes.NewReader(in)))
		if whole != parts || (wholeErr == nil) != (partsErr == nil) || len(rest) > maxLine {
			t.Fatalf("readLine(%q) = %d, %v at once and %d, %v by bytes", in, whole, wholeErr, parts, partsErr)
		}
	})
}
