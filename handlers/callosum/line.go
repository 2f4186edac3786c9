package callosum

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/portluck/portluck/handlers"
)

// maxLine is the length of the longest slot line: the digits of the highest slot, and CR LF.
const maxLine = 19 + 2

// appendLine appends the line for slot.
func appendLine(dst []byte, slot int) []byte {
	return append(strconv.AppendInt(dst, int64(slot), 10), "\r\n"...)
}

// readLine reads the slot line from r, and returns the bytes that it has read beyond it. It returns
// [handlers.ErrProtocol] as soon as the input cannot be a line of digits, and io.ErrUnexpectedEOF
// if r ends before the line does.
func readLine(r io.Reader) (slot int, rest []byte, err error) {
	buf := make([]byte, 0, maxLine)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		slot, used, parseErr := parseLine(buf)
		switch {
		case parseErr != nil:
			return 0, nil, parseErr
		case used > 0:
			return slot, buf[used:], nil
		case err == io.EOF:
			return 0, nil, io.ErrUnexpectedEOF
		case err != nil:
			return 0, nil, err
		}
	}
}

// parseLine parses the slot line, \d+\r\n, at the beginning of b. used is its length, or 0 while
// the line is incomplete.
func parseLine(b []byte) (slot, used int, err error) {
	digits := bytes.IndexFunc(b, func(r rune) bool { return r < '0' || r > '9' })
	rest := []byte(nil)
	if digits >= 0 {
		rest = b[digits:]
	}
	switch {
	case digits == 0, !bytes.HasPrefix([]byte("\r\n"), rest[:min(2, len(rest))]), len(rest) < 2 && len(b) >= maxLine:
		return 0, 0, fmt.Errorf("%w: %q is not a slot number and CR LF", handlers.ErrProtocol, b[:min(len(b), maxLine)])
	case len(rest) < 2:
		return 0, 0, nil
	}
	n, err := strconv.ParseUint(string(b[:digits]), 10, 63)
	if err != nil || n > math.MaxInt {
		return 0, 0, fmt.Errorf("%w: slot %s is too high", handlers.ErrProtocol, b[:digits])
	}
	return int(n), digits + 2, nil
}
