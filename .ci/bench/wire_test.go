package main

import (
	"bytes"
	"math"
	"testing"

	"github.com/gobwas/ws"
)

// FuzzParseHeader compares parseHeader with gobwas/ws.
func FuzzParseHeader(f *testing.F) {
	for _, b := range []string{
		"", "\x81", "\x81\x00", "\x81\x05hello", "\x82\x7e\x01", "\x82\x7e\x01\x00", "\x81\xfe\x00\x7e\x01\x02\x03\x04", "\x81\x7f\x00\x00\x00\x01\x00\x00\x00\x02",
		"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff", "\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00",
	} {
		f.Add([]byte(b))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		begin, size, ok := parseHeader(b)
		in := bytes.NewReader(b)
		h, err := ws.ReadHeader(in)
		want := err == nil && h.Length <= math.MaxInt32
		if err != nil && ok { // of a masked frame the mask may be missing
			want = b[1]&0x80 != 0 && len(b) < begin
		}
		if ok != want || err == nil && ok && (begin != len(b)-in.Len() || int64(size) != h.Length) {
			t.Errorf("parseHeader(%x) = %d, %d, %t; gobwas/ws has %+v, %v", b, begin, size, ok, h, err)
		}
	})
}
