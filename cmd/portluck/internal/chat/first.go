package chat

import (
	"bytes"
	"regexp"
	"slices"

	"github.com/portluck/portluck/portluck"
)

// maxBinary is how many bytes of a binary protocol are shown. There, no name announces a secret.
const maxBinary = 16

// secretNames matches names that announce a secret: of a header, a command or a field in JSON.
var secretNames = regexp.MustCompile(`(?i)auth|pass|pwd|cookie|token|secret|login|credential|bearer|session|key|jwt|apop|sasl`)

// secretParts match URLs that may hold a secret, in any protocol. The group begins where shown cuts
// them: at the query, at the end of the scheme, or at the colon before a password.
var secretParts = []*regexp.Regexp{regexp.MustCompile(`/[^\s?]*(\?)`), regexp.MustCompile(`(://)`), regexp.MustCompile(`(:)\S*@`)}

// shown returns the beginning of the first bytes of a connection that may be shown. It ends before
// the query or body of an HTTP request, after a PROXY header, and for every protocol before a part
// of a URL that may hold a secret and after a word that announces one.
func shown(route string, first []byte) []byte {
	end := len(first)
	cut := func(at int) {
		if at >= 0 {
			end = min(end, at)
		}
	}
	if slices.Contains([]string{portluck.RouteHTTP, portluck.RouteWebSocket, portluck.RouteStalled}, route) {
		for _, mark := range []string{"?", "\r\n\r\n", "\n\n", "\n\r\n"} {
			cut(bytes.Index(first, []byte(mark)))
		}
	}
	// A PROXY header of version 1 ends with a newline.
	if at := bytes.IndexByte(first, '\n'); route == portluck.RouteProxy && at > 1 {
		cut(at + 1)
	}
	for _, part := range secretParts {
		if at := part.FindSubmatchIndex(first); at != nil {
			cut(at[2])
		}
	}
	if slices.ContainsFunc(first, isBinary) {
		cut(maxBinary)
	}
	if at := secretNames.FindIndex(first); at != nil {
		cut(at[1])
	}
	return first[:end]
}

func isBinary(c byte) bool {
	return c < ' ' && c != '\t' && c != '\r' && c != '\n' || c >= 0x7f
}
