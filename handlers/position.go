package handlers

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Position is a place in the messages of a room. That of another epoch is of another room of the
// same name, before it was forgotten or the server restarted.
type Position struct{ Epoch, Seq uint64 }

// String is the form that [ParsePosition] reads.
func (p Position) String() string { return fmt.Sprintf("%x-%d", p.Epoch, p.Seq) }

var errPosition = errors.New("this is no position in a room: one is what Portluck-Position or the id of an event said, such as 1f-17")

// ParsePosition reads what [Position.String] has written, also on another server: hexadecimal
// digits, a hyphen and digits. A number that is too large for us makes a position in no room of
// ours, such as that of a room that was forgotten.
func ParsePosition(s string) (Position, error) {
	epoch, seq, _ := strings.Cut(s, "-")
	if !consistsOf(epoch, "0123456789abcdefABCDEF") || !consistsOf(seq, "0123456789") {
		return Position{}, errPosition
	}
	e, err := strconv.ParseUint(epoch, 16, 64)
	n, err2 := strconv.ParseUint(seq, 10, 64)
	if err != nil || err2 != nil {
		return Position{Seq: math.MaxUint64}, nil
	}
	return Position{Epoch: e, Seq: n}, nil
}

func consistsOf(s, digits string) bool { return s != "" && strings.Trim(s, digits) == "" }

// A PositionFraming is a [Framing] that tells clients where in its room each message is, so that
// one that comes again can ask for those after it.
type PositionFraming interface {
	Framing
	// AppendMessageAt is AppendMessage for the message at this position.
	AppendMessageAt(dst, msg []byte, k Kind, at Position) []byte
}
