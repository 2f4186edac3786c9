package portluck

import (
	"bytes"
	"encoding/base64"
	"unicode/utf8"

	"github.com/portluck/portluck/handlers"
)

// eventFraming frames messages as server-sent events. A message that is not UTF-8 becomes an event
// of type binary, in base64.
type eventFraming struct{}

// AppendMessage is [handlers.Framing.AppendMessage].
func (eventFraming) AppendMessage(dst, msg []byte, k handlers.Kind) []byte {
	if k == handlers.Binary && !printable(msg) || !utf8.Valid(msg) {
		dst = append(dst, "event: binary\ndata: "...)
		return append(base64.StdEncoding.AppendEncode(dst, msg), "\n\n"...)
	}
	for {
		i := bytes.IndexAny(msg, "\r\n")
		dst = append(dst, "data: "...)
		if i < 0 {
			return append(append(dst, msg...), "\n\n"...)
		}
		dst = append(append(dst, msg[:i]...), '\n')
		if msg[i] == '\r' && i+1 < len(msg) && msg[i+1] == '\n' {
			i++
		}
		msg = msg[i+1:]
	}
}

// AppendMessageAt is [handlers.PositionFraming.AppendMessageAt]. It adds the position as the id of
// the event, which a client that reconnects sends as Last-Event-ID.
func (f eventFraming) AppendMessageAt(dst, msg []byte, k Kind, at Position) []byte {
	dst = append(append(append(dst, "id: "...), at.String()...), '\n')
	return f.AppendMessage(dst, msg, k)
}

// printable reports whether msg is UTF-8 without control characters other than line ends and tabs.
func printable(msg []byte) bool {
	return utf8.Valid(msg) && !bytes.ContainsFunc(msg, func(r rune) bool {
		return r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0x7f
	})
}
