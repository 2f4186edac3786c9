package mesh

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/portluck/portluck/handlers"
)

// What a [Backplane] sends is lines of text, which a person with nc can read too:
//
//	AT ID EPOCH SEQ                first: the node, its life, and the number of its last message
//	MSG SEQ KIND LENGTH "ROOM"     a message, whose bytes follow, and a line feed
//
// ID and EPOCH are hexadecimal. An EPOCH stands for the numbers of one life of the node. KIND is
// auto, text or binary. The name of the room is quoted as in Go.
const (
	maxRoom = 512             // bytes in the name of a room
	maxLine = 4*maxRoom + 512 // that of MSG, whose room may be all escapes
)

type frameKind int

const (
	frameLine frameKind = iota // of another protocol
	frameAt
	frameMessage
)

// frames reads them. Its fields are those of the last one.
type frames struct {
	limit int

	line    []byte // of another protocol; valid until the next one
	id      string
	epoch   uint64
	seq     uint64
	room    string
	message handlers.Message // likewise
	buf     []byte
	want    int // bytes of message
}

func appendAt(dst []byte, id string, epoch, seq uint64) []byte {
	return fmt.Appendf(dst, "AT %s %x %d\n", id, epoch, seq)
}

func appendMessage(dst []byte, seq uint64, room string, m handlers.Message) []byte {
	dst = fmt.Appendf(dst, "MSG %d %s %d %s\n", seq, m.Kind, len(m.Data), strconv.QuoteToASCII(room))
	dst = append(dst, m.Data...)
	return append(dst, '\n')
}

// next reads a frame, or a line. A last line without an end is one too.
func (f *frames) next(r *bufio.Reader) (frameKind, error) {
	line, err := r.ReadSlice('\n')
	switch {
	case err == bufio.ErrBufferFull:
		return 0, fmt.Errorf("line: %w", handlers.ErrTooLong)
	case err != nil && (len(line) == 0 || !eof(err)):
		return 0, err
	case err == nil:
		line = line[:len(line)-1]
	}
	switch word, rest, _ := strings.Cut(string(line), " "); {
	case word == "AT" && f.parseAt(rest):
		return frameAt, nil
	case word == "MSG" && f.parseMessage(rest):
		return frameMessage, f.body(r)
	case word == "AT", word == "MSG":
		return 0, fmt.Errorf("malformed line: %w", handlers.ErrProtocol)
	}
	f.line = line
	return frameLine, nil
}

func (f *frames) parseAt(s string) bool {
	var ok1, ok2 bool
	id, rest, _ := strings.Cut(s, " ")
	epoch, seq, _ := strings.Cut(rest, " ")
	f.epoch, ok1 = number(epoch, 16)
	f.seq, ok2 = number(seq, 10)
	f.id = id
	return ok1 && ok2 && f.epoch != 0 && CheckID(id) == nil && id == strings.ToUpper(id)
}

// number parses digits, and nothing else.
func number(s string, base int) (uint64, bool) {
	if strings.HasPrefix(s, "+") || strings.Contains(s, "_") {
		return 0, false
	}
	n, err := strconv.ParseUint(s, base, 64)
	return n, err == nil
}

var kinds = map[string]handlers.Kind{"auto": handlers.Auto, "text": handlers.Text, "binary": handlers.Binary}

// parseMessage reads the head of a message.
func (f *frames) parseMessage(s string) bool {
	seq, rest, _ := strings.Cut(s, " ")
	kind, rest, _ := strings.Cut(rest, " ")
	size, quoted, _ := strings.Cut(rest, " ")
	n, ok1 := number(seq, 10)
	k, ok2 := kinds[kind]
	length, ok3 := number(size, 10)
	room, err := strconv.Unquote(quoted)
	if !ok1 || !ok2 || !ok3 || err != nil || quoted[0] != '"' || len(room) > maxRoom || length > uint64(f.limit) {
		return false
	}
	f.seq, f.room, f.message.Kind, f.want = n, room, k, int(length)
	return true
}

// keepBuf is up to which size the memory of a message is kept for the next one.
const keepBuf = 64 << 10

// body reads the bytes of a message. Memory is taken as they come, not as they are promised.
func (f *frames) body(r *bufio.Reader) error {
	if cap(f.buf) > keepBuf {
		f.buf = nil
	}
	b := bytes.NewBuffer(f.buf[:0])
	if _, err := io.CopyN(b, r, int64(f.want)+1); err != nil {
		return err
	}
	f.buf = b.Bytes()
	if f.buf[f.want] != '\n' {
		return fmt.Errorf("no line feed behind a message: %w", handlers.ErrProtocol)
	}
	f.message.Data = f.buf[:f.want]
	return nil
}
