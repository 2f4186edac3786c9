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

// secretParts are where a secret begins in a URL, whatever protocol it is said in: the query, and
// what stands behind a scheme, where a name and a password may.
var secretParts = []*regexp.Regexp{regexp.MustCompile(`/[^\s?]*(\?)`), regexp.MustCompile(`(://)`), regexp.MustCompile(`(:)\S*@`)}

// shown returns as much of the first bytes of a connection as may be shown: nothing behind a PROXY
// header, nothing of the query or the body of HTTP, and of any protocol nothing behind a word that
// announces a secret, and nothing of a URL that may hold one.
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
	if at := bytes.IndexByte(first, '\n'); route == portluck.RouteProxy && at > 1 { // the end of a header of version 1
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
