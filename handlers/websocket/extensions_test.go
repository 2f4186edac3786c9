package websocket

import (
	"fmt"
	"strings"
	"testing"
)

// Offers of permessage-deflate, and the answers: RFC 7692, sections 5.1 and 7.1.
func TestTraps4Row24bNegotiation(t *testing.T) {
	tests := []struct {
		name, offers string
		window       uint8
	}{
		{"none", "", 0},
		{"plain", "permessage-deflate", 15},
		{"a browser's", "permessage-deflate; client_max_window_bits", 15},
		{"any case", "Permessage-Deflate", 15},
		{"no context", "permessage-deflate;server_no_context_takeover;client_no_context_takeover", 15},
		{"client's window", "permessage-deflate; client_max_window_bits=10", 15},
		{"server's window", "permessage-deflate; server_max_window_bits=10", 10},
		{"server's window is the largest", "permessage-deflate; server_max_window_bits=15", 15},
		{"server's window is the smallest", "permessage-deflate; server_max_window_bits=8", 8},
		{"quoted", `permessage-deflate; server_max_window_bits="9"`, 9},
		{"the largest, quoted", `permessage-deflate; server_max_window_bits = "15"`, 15},
		{"escaped in quotes", `permessage-deflate; server_max_window_bits="1\0"`, 10},
		{"all escaped in quotes", `permessage-deflate; server_max_window_bits="\1\2"; client_max_window_bits="\8"`, 12},
		{"quotes that do not end", `permessage-deflate; server_max_window_bits="10`, 0},
		{"quotes whose end is escaped", `permessage-deflate; server_max_window_bits="10\"`, 0},
		{"nothing in quotes", `permessage-deflate; server_max_window_bits=""`, 0},
		{"a quote", `permessage-deflate; server_max_window_bits="`, 0},
		{"spaces in quotes", `permessage-deflate; server_max_window_bits=" 10 "`, 0},
		{"quotes in quotes", `permessage-deflate; server_max_window_bits="\"10\""`, 0},
		{"a quoted name", `"permessage-deflate"`, 0},
		{"a quoted parameter", `permessage-deflate; "server_max_window_bits"=10`, 0},
		{"space around all", "  permessage-deflate \t;  server_max_window_bits\t =  11  ;client_max_window_bits  ", 11},
		{"all four", "permessage-deflate; client_max_window_bits=9; server_max_window_bits=9; client_no_context_takeover; server_no_context_takeover", 9},
		{"a parameter in another case", "permessage-deflate; Server_Max_Window_Bits=10", 0},
		{"a number and more", "permessage-deflate; server_max_window_bits=10x", 0},
		{"two numbers", "permessage-deflate; server_max_window_bits=10=11", 0},
		{"hexadecimal", "permessage-deflate; server_max_window_bits=0xa", 0},
		{"a huge number", "permessage-deflate; server_max_window_bits=4294967306", 0},
		{"an empty value", "permessage-deflate; client_max_window_bits=", 0},
		{"an empty value of a flag", "permessage-deflate; client_no_context_takeover=", 0},
		{"the same twice with two values", "permessage-deflate; server_max_window_bits=10; server_max_window_bits=11", 0},
		{"empty elements", ", ,permessage-deflate; server_max_window_bits=10,", 10},
		{"the first of several that can be met", "permessage-deflate; server_max_window_bits=7, permessage-deflate; server_max_window_bits=9, permessage-deflate; server_max_window_bits=10", 9},
		{"the first line that can be met", "permessage-deflate; foo\npermessage-deflate; server_max_window_bits=13\npermessage-deflate", 13},
		{"behind one of another extension", "foo; permessage-deflate, permessage-deflate; server_max_window_bits=14", 14},
		{"both windows", "permessage-deflate; client_max_window_bits; server_max_window_bits=15", 15},
		{"unknown parameter", "permessage-deflate; foo=1", 0},
		{"unknown parameter, then another offer", "permessage-deflate; foo=1, permessage-deflate; server_max_window_bits=12, permessage-deflate", 12},
		{"in the second line", "x-webkit-deflate-frame\npermessage-deflate", 15},
		{"quoted comma", `foo; bar="a, permessage-deflate", x`, 0},
		{"quoted quote", `foo; bar="\", permessage-deflate"`, 0},
		{"twice", "permessage-deflate; client_max_window_bits; client_max_window_bits", 0},
		{"a value that must not be", "permessage-deflate; server_no_context_takeover=1", 0},
		{"no value", "permessage-deflate; server_max_window_bits", 0},
		{"too small", "permessage-deflate; server_max_window_bits=7", 0},
		{"too large", "permessage-deflate; client_max_window_bits=16", 0},
		{"leading zero", "permessage-deflate; server_max_window_bits=09", 0},
		{"sign", "permessage-deflate; server_max_window_bits=+9", 0},
		{"empty parameter", "permessage-deflate;", 0},
		{"another name", "permessage-deflate2", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			head := strings.TrimSuffix(good, "\r\n")
			for line := range strings.SplitSeq(tt.offers, "\n") {
				head += "sec-webSocket-extensions: " + line + "\r\n"
			}
			want := ""
			if tt.window > 0 {
				want = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
			}
			if tt.window > 0 && (tt.window < 15 || strings.Contains(tt.offers, "server_max_window_bits")) {
				want += fmt.Sprintf("; server_max_window_bits=%d", tt.window)
			}
			for _, h := range []*Handler{{CompressMin: 1}, {}} {
				d := shake(h, head+"\r\n", whole)
				status, answer := statusOf(t, d.out)
				got := answer.Get("Sec-WebSocket-Extensions")
				if h.CompressMin == 0 {
					want = ""
				}
				if status != 101 || got != want {
					t.Errorf("CompressMin %d: %d with %q, want 101 with %q", h.CompressMin, status, got, want)
				}
			}
		})
	}
}
