package handlers

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A Position is the place of a message in a room. Seq is the number of the message, from 1. A room
// gets a new Epoch each time the hub forgets it or the server restarts, so that an old position is
// not mistaken for a new one.
type Position struct{ Epoch, Seq uint64 }

// String returns p in the form that [ParsePosition] reads.
func (p Position) String() string { return fmt.Sprintf("%x-%d", p.Epoch, p.Seq) }

var errPosition = errors.New("this is no position in a room: one is what Portluck-Position or the id of an event said, such as 1f-17")

// ParsePosition parses the form that [Position.String] returns: hexadecimal digits, a hyphen and
// decimal digits. A number that does not fit into 64 bits is no error, as another server may have
// written it. The result is then a position that no room has.
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

// A PositionFraming is a [Framing] that can send each message with its position, so that a client
// that reconnects can ask for the messages after it. A room calls AppendMessageAt instead of
// AppendMessage.
type PositionFraming interface {
	Framing
	// AppendMessageAt appends msg, framed as one message, with its position.
	AppendMessageAt(dst, msg []byte, k Kind, at Position) []byte
}
