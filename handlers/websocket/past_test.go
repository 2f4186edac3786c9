package websocket

import (
	"bytes"
	"compress/flate"
	"fmt"
	"strings"
	"testing"
)

// With KeepWindow a message may refer to earlier ones, and the memory that they take is reported.
func TestKeepWindow(t *testing.T) {
	const offered = "permessage-deflate"
	for _, tt := range []struct {
		offer, answer string
		keeps         uint8
	}{
		{offered, "; server_no_context_takeover", 15},
		{offered + "; client_max_window_bits", "; server_no_context_takeover", 15},
		{offered + "; client_max_window_bits=10", "; server_no_context_takeover; client_max_window_bits=10", 10},
		{offered + "; client_max_window_bits=8", "; server_no_context_takeover; client_max_window_bits=8", 9},
		{offered + "; client_no_context_takeover", "; server_no_context_takeover; client_no_context_takeover", 0},
	} {
		answer, window, keeps := negotiate([]string{tt.offer}, true)
		if answer != offered+tt.answer || window != maxWindow || keeps != tt.keeps {
			t.Errorf("%q is answered with %q, windows %d and %d", tt.offer, answer, window, keeps)
		}
	}
	var packed bytes.Buffer
	w, _ := flate.NewWriter(&packed, flate.BestCompression)
	d := &driver{codec: (&Handler{KeepWindow: true}).open(accepted{window: maxWindow, keeps: maxWindow})}
	first := fmt.Sprintf("%x", make([]byte, 500)) + "to be or not to be"
	for i, msg := range []string{first, "to be or not to be", strings.Repeat("x", 40000), "xxxxxx", first} {
		packed.Reset()
		_, _ = w.Write([]byte(msg))
		_ = w.Flush()
		d.turn([]byte(rsv(rsv1Bit, text, strings.TrimSuffix(packed.String(), syncMark))), false)
		if d.err != nil || len(d.seen) != i+1 || d.seen[i] != "text "+msg {
			t.Fatalf("message %d: %d messages, %v", i, len(d.seen), d.err)
		}
		if d.m.Kept != 1<<maxWindow || d.m.Partial {
			t.Errorf("message %d: %d bytes are told to be kept", i, d.m.Kept)
		}
	}
}

// The past has the last bytes of all messages.
func TestPast(t *testing.T) {
	var p *past
	for _, tt := range []struct{ msg, want string }{
		{"", ""}, {"abc", "abc"}, {"defgh", "abcdefgh"}, {"i", "bcdefghi"}, {"0123456789", "23456789"}, {"x", "3456789x"},
	} {
		if p = p.add([]byte(tt.msg), 8); string(p.bytes()) != tt.want {
			t.Errorf("after %q: %q, want %q", tt.msg, p.bytes(), tt.want)
		}
	}
}
