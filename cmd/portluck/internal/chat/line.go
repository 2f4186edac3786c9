package chat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/portluck/portluck/portluck"
)

// A Line is what the page gets of a message, as JSON in a WebSocket message.
type Line struct {
	Key    string    `json:"key"` // unique among the lines of all runs of the server
	Time   time.Time `json:"time"`
	Client uint64    `json:"client,omitempty"` // the author; 0 for a client of another server
	Scheme string    `json:"scheme,omitempty"` // what the client speaks
	From   string    `json:"from,omitempty"`   // its address
	// Server is the id of the author's server in the mesh; empty for this one.
	Server string `json:"server,omitempty"`
	Text   string `json:"text"`
}

// hello is the first message that a page gets.
type hello struct {
	You uint64 `json:"you"` // Line.Client of its own lines
}

// maxShown is how many bytes of a message the page shows.
const maxShown = 8 << 10

// tagged matches the tag of a line as a server publishes it: "[scheme address] text". An IPv6
// address has its own brackets.
var tagged = regexp.MustCompile(`\A\[([a-z0-9]+) ((?:\[[^\]\s]*\]:\d+|[^\[\]\s]+))\] ?`)

// plain returns the line for clients other than pages.
func (l *Line) plain() string {
	if l.From == "" {
		return l.Text
	}
	return fmt.Sprintf("[%s %s] %s", l.Scheme, l.From, l.Text)
}

// String returns the line for the server's terminal.
func (l *Line) String() string {
	if l.Server == "" {
		return l.plain()
	}
	return "@" + l.Server[:min(8, len(l.Server))] + " " + l.plain()
}

// message returns l as the message that a page gets.
func (l *Line) message() portluck.Message {
	short := *l
	short.Text = Shorten(l.Text, maxShown)
	return jsonMessage(short)
}

func jsonMessage(v any) portluck.Message {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // impossible: every value of these types can be encoded
	}
	return portluck.Message{Data: bytes.TrimSuffix(b.Bytes(), []byte("\n")), Kind: portluck.Text}
}

// Shorten returns s or, if s is longer than n bytes, its first characters of at most n bytes and
// "...".
func Shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 { // n is inside a character
		n--
	}
	return s[:n] + "..."
}

// Clean returns s as one line that is safe on a terminal: valid UTF-8 without control characters.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029':
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}
