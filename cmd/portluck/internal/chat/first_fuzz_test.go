package chat

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/portluck/portluck/portluck"
)

// secretWords has the words of secretNames, which FuzzShown looks for without a regular expression.
var secretWords = []string{
	"auth", "pass", "pwd", "cookie", "token", "secret", "login", "credential", "bearer", "session", "key", "jwt", "apop", "sasl",
}

// FuzzShown checks that shown returns a prefix of the first bytes, that shown of that prefix is the
// prefix itself, and that it has nothing of a secret after each mark of one.
func FuzzShown(f *testing.F) {
	f.Add("http", "GET /a", "?", "x=1 HTTP/1.1\r\nHost: x\r\n\r\nbody")
	f.Add("websocket", "GET ws://me", ":", "pw@host/ HTTP/1.1\n\nbody")
	f.Add("proxy", "PROXY UNKNOWN", "\r\n", "GET / HTTP/1.1\r\n")
	f.Add("stalled", "GET / HTTP/1.1\nX-Api-", "KEY", ": x")
	f.Add("raw", "\x10\x20\x00\x04MQTT\x04\xc2", "\n\r\n", "\x00\x3c\x00\x02meSECRET")
	f.Fuzz(func(t *testing.T, route, before, mark, secret string) {
		first := []byte(before + mark + secret)
		got := shown(route, bytes.Clone(first))
		if !bytes.HasPrefix(first, got) || !bytes.Equal(shown(route, bytes.Clone(got)), got) {
			t.Fatalf("shown(%q, %q) = %q, of which %q is shown", route, first, got, shown(route, got))
		}
		most := len(first)
		if slices.ContainsFunc(first, func(c byte) bool { return c >= 0x7f || c < ' ' && !strings.ContainsRune("\t\r\n", rune(c)) }) {
			most = 16
		}
		word := before[strings.LastIndexAny(before, "\t\n\f\r ")+1:]
		switch mark {
		case "?":
			if strings.Contains(word, "/") {
				most = min(most, len(before))
			}
		case ":":
			if end := strings.IndexAny(secret, "\t\n\f\r @"); end >= 0 && secret[end] == '@' {
				most = min(most, len(before))
			}
		case "://":
			most = min(most, len(before))
		case "\r\n\r\n", "\n\n", "\n\r\n", "\r\n\n":
			if route == portluck.RouteHTTP || route == portluck.RouteWebSocket || route == portluck.RouteStalled {
				most = min(most, len(before))
			}
		case "\r\n", "\n":
			if route == portluck.RouteProxy && strings.HasPrefix(before, "PROXY") {
				most = min(most, len(before)+len(mark))
			}
		default:
			if lower := strings.ToLower(mark); slices.Contains(secretWords, lower) {
				most = min(most, len(before)+len(mark))
			}
		}
		if len(got) > most {
			t.Errorf("shown(%q, %q) = %q, want %d bytes at the most", route, first, got, most)
		}
	})
}
