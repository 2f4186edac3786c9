package websocket

import (
	"fmt"
	"strings"
	"testing"
)

// Offers of permessage-deflate and what becomes of them: RFC 7692, sections 5.1 and 7.1.
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
				head += "Sec-WebSocket-Extensions: " + line + "\r\n"
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
