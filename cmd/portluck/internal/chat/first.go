package chat

import (
	"bytes"
	"regexp"
	"slices"

	"github.com/portluck/portluck/portluck"
)

// maxBinary is how much is shown of a binary protocol, in which a secret has no name to know it by.
const maxBinary = 16

// secretNames are what stands before a secret: a header, a word of a line protocol, a name in JSON.
var secretNames = regexp.MustCompile(`(?i)auth|pass|pwd|cookie|token|secret|login|credential|bearer|session|key|jwt|apop|sasl`)

// shown is as much of the first bytes of a connection as may be shown: of HTTP no query, nothing
// behind a scheme, where a name and a password may stand, and nothing of a body; and of any
// protocol nothing behind a word that announces a secret.
func shown(route string, first []byte) []byte {
	end := len(first)
	cut := func(at int) {
		if at >= 0 {
			end = min(end, at)
		}
	}
	if slices.Contains([]string{portluck.RouteHTTP, portluck.RouteWebSocket, portluck.RouteStalled}, route) {
		for _, mark := range []string{"?", "://", "\r\n\r\n", "\n\n", "\n\r\n"} {
			cut(bytes.Index(first, []byte(mark)))
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
