package handlers

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A Refusal is an error that refuses or ends a client and says how. OnHandshake returns one to
// choose what the client is told; any other error there refuses with 403. Its zero value is a
// refusal for good: 403, close 1008.
type Refusal struct {
	// Status is the status of the HTTP response, from 400 to 599; 403 if it is zero or any other.
	Status int
	// Close is the close code of a WebSocket (RFC 6455, section 7.4). In OnHandshake a Close that
	// is not zero accepts the upgrade and closes the WebSocket at once, so that a script in a
	// browser sees the code; otherwise the upgrade is refused with Status, and the script sees only
	// 1006. A code that no server may send becomes 1008. If it is zero, an open WebSocket gets 3000
	// for 401, 1013 for 429 and 503, and 1008 for other statuses.
	Close uint16
	// Text is what the client is told, in one line: the body of the HTTP response, the reason of the
	// close frame (its first 123 bytes), or a line of a raw stream. If it is empty, the client is
	// told the meaning of Status.
	Text string
	// RetryAfter is the time after which the client may try again, in whole seconds, rounded up. It is
	// the Retry-After of an HTTP response. If it is zero or negative, the client is not told any.
	RetryAfter time.Duration
}

// Error returns the status and the text.
func (r *Refusal) Error() string {
	if r.Text == "" {
		return fmt.Sprintf("refused with status %d", r.farewell().Status)
	}
	return fmt.Sprintf("refused with status %d: %s", r.farewell().Status, r.Text)
}

// farewell fills in the defaults.
func (r *Refusal) farewell() Farewell {
	f := Farewell{Status: r.Status, Close: r.Close, Text: oneLine(r.Text), RetryAfter: max(r.RetryAfter, 0)}
	if f.Status < 400 || f.Status > 599 {
		f.Status = http.StatusForbidden
	}
	switch {
	case f.Close != 0 && !ValidCloseCode(int(f.Close)):
		f.Close = 1008
	case f.Close != 0:
	case f.Status == http.StatusUnauthorized:
		f.Close = 3000
	case f.Status == http.StatusTooManyRequests, f.Status == http.StatusServiceUnavailable:
		f.Close = 1013
	default:
		f.Close = 1008
	}
	if f.Text == "" {
		f.Text = ErrPolicy.Error()
		if name := http.StatusText(f.Status); name != "" && f.Status != http.StatusForbidden {
			f.Text = strings.ToLower(name)
		}
	}
	f.Line = f.Text
	return f
}

// ValidCloseCode reports whether a WebSocket close frame may have this code (RFC 6455, section 7.4,
// and IANA's registry).
func ValidCloseCode(code int) bool {
	return 1000 <= code && code <= 1003 || 1007 <= code && code <= 1014 || 3000 <= code && code <= 4999
}

// oneLine returns s as valid UTF-8 whose control characters are spaces, so that it cannot look like
// more than one line.
func oneLine(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD")))
}

// A Farewell is what each protocol tells a client that it refuses, or ends, with an error.
type Farewell struct {
	Status int    // of an HTTP response that has not begun
	Close  uint16 // the close code of a WebSocket
	Text   string // the reason in the close frame
	// Line is what a person at the other end of a raw stream is told. It is empty if nobody is, as
	// for a timeout or a shutdown.
	Line       string
	RetryAfter time.Duration // after which the client may try again; not told if zero
}

// farewells maps errors to farewells. The first match counts.
var farewells = []struct {
	err error
	is  Farewell
}{
	{ErrTooLong, Farewell{Status: 413, Close: 1009, Line: ErrTooLong.Error()}},
	{ErrInvalidText, Farewell{Status: 400, Close: 1007}},
	{ErrProtocol, Farewell{Status: 400, Close: 1002}},
	{ErrPolicy, Farewell{Status: 403, Close: 1008, Line: ErrPolicy.Error()}},
	{ErrExpired, Farewell{Status: 401, Close: 3000, Line: ErrExpired.Error()}},
	{ErrPanic, internal},
	{ErrStalled, Farewell{Status: 408, Close: 1002}},
	{ErrTimeout, Farewell{Status: 408, Close: 1001}},
	{ErrShutdown, Farewell{Status: 503, Close: 1001, RetryAfter: time.Second}},
	{ErrSlow, Farewell{Status: 503, Close: 1013, RetryAfter: time.Second}},
	{ErrOverload, Farewell{Status: 503, Close: 1013, Line: ErrOverload.Error(), RetryAfter: time.Second}},
	{io.ErrUnexpectedEOF, Farewell{Status: 400, Close: 1002}},
}

// internal is the farewell for an error that tells the client nothing.
var internal = Farewell{Status: 500, Close: 1011, Text: "internal error", Line: "internal server error"}

// FarewellOf returns the farewell for err, which must not be nil. A [Refusal] in its chain counts
// before the errors of this package. For any other error ok is false and the farewell, without a
// Line, that of an internal error: the text of err is not for the client.
func FarewellOf(err error) (f Farewell, ok bool) {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r.farewell(), true
	}
	for _, one := range farewells {
		if errors.Is(err, one.err) {
			if f = one.is; f.Text == "" {
				f.Text = one.err.Error()
			}
			return f, true
		}
	}
	f = internal
	f.Line = ""
	return f, false
}

// RetryAfterSeconds returns the value of a Retry-After field (RFC 9110, section 10.2.3); "" for
// none.
func (f Farewell) RetryAfterSeconds() string {
	if f.RetryAfter <= 0 {
		return ""
	}
	return strconv.FormatFloat(math.Ceil(f.RetryAfter.Seconds()), 'f', 0, 64)
}

// Body returns the text of an HTTP response.
func (f Farewell) Body() string {
	if f.Line == "" || f.Status == http.StatusInternalServerError {
		return http.StatusText(f.Status)
	}
	return f.Line
}

// Answer answers an HTTP request with the farewell. The header of w may have more fields, such as
// WWW-Authenticate.
func (f Farewell) Answer(w http.ResponseWriter) {
	if s := f.RetryAfterSeconds(); s != "" {
		w.Header().Set("Retry-After", s)
	}
	http.Error(w, f.Body(), f.Status)
}
