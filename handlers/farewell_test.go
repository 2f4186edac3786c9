package handlers

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestFarewellOf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		err        error
		want       Farewell
		unknown    bool
		retryAfter string
		body       string
	}{
		{name: "a refusal", err: &Refusal{}, want: Farewell{403, 1008, "refused", "refused", 0}, body: "refused"},
		{
			name: "the policy", err: fmt.Errorf("no: %w", ErrPolicy), body: "refused",
			want: Farewell{403, 1008, "refused", "refused", 0},
		},
		{
			name: "an expired login", err: ErrExpired, body: ErrExpired.Error(),
			want: Farewell{401, 3000, ErrExpired.Error(), ErrExpired.Error(), 0},
		},
		{
			name: "overload", err: ErrOverload, retryAfter: "1", body: ErrOverload.Error(),
			want: Farewell{503, 1013, ErrOverload.Error(), ErrOverload.Error(), time.Second},
		},
		{
			name: "a panic", err: ErrPanic, body: "Internal Server Error",
			want: Farewell{500, 1011, "internal error", "internal server error", 0},
		},
		{name: "a timeout", err: ErrTimeout, want: Farewell{408, 1001, ErrTimeout.Error(), "", 0}, body: "Request Timeout"},
		{
			name: "a shutdown", err: ErrShutdown, want: Farewell{503, 1001, ErrShutdown.Error(), "", time.Second},
			retryAfter: "1", body: "Service Unavailable",
		},
		{name: "cut off", err: io.ErrUnexpectedEOF, want: Farewell{400, 1002, "unexpected EOF", "", 0}, body: "Bad Request"},
		{
			name: "another", err: errors.New("secret"), want: Farewell{500, 1011, "internal error", "", 0}, unknown: true,
			body: "Internal Server Error",
		},
		{
			name: "a refusal first", err: fmt.Errorf("%w: %w", ErrTimeout, &Refusal{Status: 401, Text: "who are you?"}),
			want: Farewell{401, 3000, "who are you?", "who are you?", 0}, body: "who are you?",
		},
		{
			name: "for now", err: &Refusal{Status: 429, RetryAfter: 1500 * time.Millisecond}, retryAfter: "2", body: "too many requests",
			want: Farewell{429, 1013, "too many requests", "too many requests", 1500 * time.Millisecond},
		},
		{
			name: "no such status and code", err: &Refusal{Status: 200, Close: 1006, RetryAfter: -1}, body: "refused",
			want: Farewell{403, 1008, "refused", "refused", 0},
		},
		{
			name: "its own status and code", err: &Refusal{Status: 404, Close: 4000}, body: "not found",
			want: Farewell{404, 4000, "not found", "not found", 0},
		},
		{
			name: "several lines", err: &Refusal{Text: "no\r\nSet-Cookie: x\x00\xff\n"}, body: "no  Set-Cookie: x \uFFFD",
			want: Farewell{403, 1008, "no  Set-Cookie: x \uFFFD", "no  Set-Cookie: x \uFFFD", 0},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, ok := FarewellOf(tt.err)
			if got != tt.want || ok == tt.unknown {
				t.Errorf("FarewellOf() = %+v, %t, want %+v, %t", got, ok, tt.want, !tt.unknown)
			}
			w := httptest.NewRecorder()
			w.Header().Set("WWW-Authenticate", "Bearer")
			got.Answer(w)
			body := strings.TrimSuffix(w.Body.String(), "\n")
			if h := w.Header(); w.Code != tt.want.Status || h.Get("Retry-After") != tt.retryAfter || body != tt.body || h.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("Answer: %d %v %q, want %d, Retry-After %q, %q", w.Code, h, body, tt.want.Status, tt.retryAfter, tt.body)
			}
		})
	}
}

// Every error that ends a client has a farewell of its own.
func TestFarewellOfEveryError(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		ErrTooLong, ErrProtocol, ErrInvalidText, ErrPolicy, ErrExpired, ErrPanic, ErrStalled, ErrTimeout, ErrSlow,
		ErrOverload, ErrShutdown, &PanicError{},
	} {
		f, ok := FarewellOf(fmt.Errorf("x: %w", err))
		if !ok || http.StatusText(f.Status) == "" || f.Status < 400 || !ValidCloseCode(int(f.Close)) || f.Text == "" {
			t.Errorf("FarewellOf(%v) = %+v, %t", err, f, ok)
		}
	}
}

func TestRefusalText(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		refusal Refusal
		want    string
	}{
		{Refusal{}, "refused with status 403"},
		{Refusal{Status: 401, Text: "log in"}, "refused with status 401: log in"},
	} {
		if got := tt.refusal.Error(); got != tt.want {
			t.Errorf("Error() = %q, want %q", got, tt.want)
		}
	}
}
