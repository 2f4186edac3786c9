package websocket

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/portluck/portluck/handlers"
)

// seeds adds the short inputs of all tables.
func seeds(f *testing.F) {
	f.Helper()
	for _, section := range autobahn {
		for _, tt := range section.cases() {
			if len(tt.in) < 1<<10 {
				f.Add([]byte(tt.in))
			}
		}
	}
	for _, tt := range ourCases {
		f.Add([]byte(tt.in))
	}
}

// Whatever the input, what is sent does not depend on how it is split, and consists of frames.
func FuzzDecode(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		h := &Handler{Limit: 1 << 12}
		want, wantErr := echo(t, h, in, whole)
		if wantErr == nil {
			t.Error("no end")
		}
		for _, c := range cuts[1:] {
			got, err := echo(t, h, in, c.cut)
			if !slices.Equal(got, want) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
				t.Errorf("%s: sent %q, %v, want %q, %v", c.name, got, err, want, wantErr)
			}
		}
	})
}

// gobwas is an echo server made of gobwas' functions, which wait for whole frames. It returns what
// is sent. end means that the connection has ended; otherwise the input is incomplete. gobwas
// accepts lengths that are not in their shortest form, which RFC 6455, section 5.2, forbids; this
// func does not.
func gobwas(in []byte) (sent []string, end bool) {
	state, r := ws.StateServerSide, bytes.NewReader(in)
	var message []byte
	var op ws.OpCode
	for {
		at := in[len(in)-r.Len():]
		h, err := ws.ReadHeader(r)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return sent, false
		}
		if long := at[1]&0x7f > max(125, shortest(h.Length)); long || err != nil || ws.CheckHeader(h, state) != nil {
			return append(sent, "close 1002"), true
		}
		if h.Length > int64(r.Len()) {
			return sent, false
		}
		p := make([]byte, h.Length)
		_, _ = io.ReadFull(r, p)
		ws.Cipher(p, h.Mask, 0)
		switch h.OpCode {
		case ws.OpPing:
			sent = append(sent, "pong "+string(p))
			continue
		case ws.OpPong:
			continue
		case ws.OpClose:
			return append(sent, gobwasClose(p)), true
		case ws.OpContinuation:
		default:
			message, op = nil, h.OpCode
		}
		message = append(message, p...)
		if state = state.Clear(ws.StateFragmented); !h.Fin {
			state = state.Set(ws.StateFragmented)
			continue
		}
		if op == ws.OpText && !utf8.Valid(message) {
			return append(sent, "close 1007"), true
		}
		sent = append(sent, kindOf(op == ws.OpText).String()+" "+string(message))
	}
}

// shortest returns the second byte of an unmasked frame of n bytes.
func shortest(n int64) byte {
	switch {
	case n < 126:
		return byte(n)
	case n < 1<<16:
		return 126
	}
	return 127
}

func gobwasClose(p []byte) string {
	if len(p) == 0 {
		return "close 0"
	}
	code, reason := ws.ParseCloseFrameData(p)
	if handlers.ValidCloseCode(int(code)) != (ws.CheckCloseFrameData(code, reason) == nil) && utf8.ValidString(reason) {
		// TRAPS part 4, row 13.
		return fmt.Sprintf("close %d", map[bool]int{true: int(code), false: 1002}[handlers.ValidCloseCode(int(code))])
	}
	if len(p) < 2 || ws.CheckCloseFrameData(code, reason) != nil {
		return "close 1002"
	}
	return fmt.Sprintf("close %d", code)
}

// The codec treats whole frames as gobwas does, except that it may refuse a frame earlier.
func FuzzAgainstGobwas(f *testing.F) {
	seeds(f)
	f.Add([]byte("\x81\xffA0000000"))
	f.Fuzz(func(t *testing.T, in []byte) {
		want, end := gobwas(in)
		got, err := echo(t, &Handler{Limit: -1}, in, whole)
		before := max(0, len(got)-1)
		switch {
		case ended(err, handlers.ErrInvalidText) && len(want) >= before:
			if later := want[before:]; slices.ContainsFunc(later, isMessage) {
				t.Errorf("text is refused that they take: %q", later)
			}
			got, want = got[:before], want[:before]
		case ended(err, protocol) && !end: // only the header, or a part, of the last frame has come
			got = got[:before]
		case ended(err, handlers.ErrTooLong): // no memory can hold it, or there are too many empty frames
			got, want = got[:before], want[:min(before, len(want))]
		}
		if !slices.Equal(got, want) {
			t.Errorf("sent %q, %v, want %q", got, err, want)
		}
	})
}

func isMessage(sent string) bool {
	return strings.HasPrefix(sent, "text ") || strings.HasPrefix(sent, "binary ")
}
