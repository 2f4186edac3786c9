package alldata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// ask returns the answer of h to a request.
func ask(h http.Handler, method, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/_put", strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// Each body is either accepted or refused with a reason.
func TestHandlerBodies(t *testing.T) {
	tests := []struct {
		name, body string
		status     int
		want       string // the put, or the answer
	}{
		{"in order", `{"key":"k","event":{}}`, 201, `k {}`},
		{"in another order", `{"event":[1],"key":"k"}`, 201, `k [1]`},
		{"with others", `{"KEY":"x","key":"k","more":[{}],"Event":2,"event":1}`, 201, `k 1`},
		{"the last of two", `{"key":"a","key":"k","event":1,"event":2}`, 201, `k 2`},
		{"escaped", `{"\u006bey":"\u20ac\ud83d\ude00","event":"\u20ac"}`, 201, `€😀 "\u20ac"`},
		{"white space around", " \r\n\t{\"key\":\"k\",\"event\": { \"a\" : 1 } } \n", 201, `k { "a" : 1 }`},
		{"event null", `{"key":"k","event":null}`, 201, `k null`},
		{"event text", `{"key":"k","event":"€"}`, 201, `k "€"`},
		{"half a pair in the event", `{"key":"k","event":"\ud800"}`, 201, `k "\ud800"`},
		{"empty", "", 400, "the body is no JSON object: it is empty\n"},
		{"null", "null", 400, "the body is no JSON object: it begins with 'n'\n"},
		{"white space", " \n", 400, "the body is no JSON object: it is empty\n"},
		{"number", "5", 400, "the body is no JSON object: it begins with '5'\n"},
		{"string", `"str"`, 400, "the body is no JSON object: "},
		{"array", " []", 400, "the body is no JSON object: it begins with '['\n"},
		{"no members", "{}", 400, "there is no key\n"},
		{"no key", `{"event":1}`, 400, "there is no key\n"},
		{"no event", `{"key":"k"}`, 400, "there is no event\n"},
		{"key in another case", `{"Key":"k","event":1}`, 400, "there is no key\n"},
		{"numeric key", `{"key":5,"event":1}`, 400, "the key is not a string\n"},
		{"null key", `{"key":null,"event":1}`, 400, "the key is not a string\n"},
		{"empty key", `{"key":"","event":1}`, 400, "the key is empty\n"},
		{"half a pair in the key", `{"key":"a\ud800","event":1}`, 400, "the key has half a surrogate pair\n"},
		{"no JSON", "{foo: 'bar'}", 400, "the body is no JSON object: invalid character 'f'"},
		{"byte order mark", "\uFEFF{}", 400, "the body is no JSON object: it begins with '\\ufeff'\n"},
		{"two", `{"key":"k","event":1} {}`, 400, "the body is no JSON object: invalid character '{' after"},
		{"no UTF-8", "{\"key\":\"k\",\"event\":\"\xff\"}", 400, "the body is no JSON object: it is not UTF-8\n"},
		{"too deep", `{"key":"k","event":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + "}", 400, "the body is no JSON object: invalid character '[' exceeded max depth"},
		{"a comma too much", `{"key":"k","event":1,}`, 400, "the body is no JSON object: invalid character '}'"},
		{"no comma", `{"key":"k" "event":1}`, 400, "the body is no JSON object: invalid character '\"'"},
		{"no colon", `{"key" "k","event":1}`, 400, "the body is no JSON object: invalid character '\"'"},
		{"cut off", `{"key":"k","event":1`, 400, "the body is no JSON object: unexpected end"},
		{"control characters", "{\"key\":\"k\",\x00\n", 400, "the body is no JSON object: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &puts{}
			var told error
			h := &Handler{OnPut: p.put, OnError: func(_ *http.Request, err error) { told = err }}
			w := ask(h, "POST", tt.body)
			got := w.Body.String()
			if tt.status == 201 {
				got = p.all()
			}
			if w.Code != tt.status || got != tt.want && (tt.status == 201 || !strings.HasPrefix(got, tt.want)) {
				t.Errorf("status %d, %q, want %d, %q", w.Code, got, tt.status, tt.want)
			}
			if (told == nil) != (tt.status == 201) || tt.status != 201 && p.all() != "" {
				t.Errorf("OnError(%v), puts %q", told, p.all())
			}
			if strings.Count(w.Body.String(), "\n") > 1 || strings.Contains(w.Body.String(), "\x00") {
				t.Errorf("the answer %q is more than a line", w.Body)
			}
		})
	}
}

// The error of OnPut decides the answer, which does not contain the text of other errors.
func TestHandlerAnswers(t *testing.T) {
	tests := []struct {
		name   string
		put    func(context.Context, string, json.RawMessage) error
		status int
		text   string
	}{
		{"nil", returns(nil), 201, ""},
		{"conflict", returns(fmt.Errorf("put: %w", ErrConflict)), 409, "the key has another event\n"},
		{"conflict of a peer", returns(&StatusError{Status: 409}), 409, "the key has another event\n"},
		{"invalid", returns(fmt.Errorf("%w: no", ErrInvalid)), 400, "not a key and an event: no\n"},
		{"too long", returns(handlers.ErrTooLong), 413, "message too long\n"},
		{"busy", returns(ErrBusy), 503, "the event was not stored; come again\n"},
		{"closed", returns(ErrClosed), 503, "the event was not stored; come again\n"},
		{"late", returns(context.DeadlineExceeded), 503, "it is not known in time whether the event was stored; come again\n"},
		{"another", returns(errors.New("secret")), 500, ""},
		{"panic", func(context.Context, string, json.RawMessage) error { panic("secret") }, 500, ""},
		{"none", nil, 500, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var told error
			w := ask(&Handler{OnPut: tt.put, OnError: func(_ *http.Request, err error) { told = err }}, "POST", upstreamBody)
			if w.Code != tt.status || w.Body.String() != tt.text {
				t.Errorf("%d %q, want %d %q", w.Code, w.Body, tt.status, tt.text)
			}
			if (told == nil) != (tt.status == 201) || tt.name == "panic" && !errors.Is(told, handlers.ErrPanic) {
				t.Errorf("OnError(%v)", told)
			}
			if got := w.Header().Get("Retry-After"); (got == "1") != (tt.status == 503) {
				t.Errorf("Retry-After: %q", got)
			}
		})
	}
	if w := ask(&Handler{}, "POST", upstreamBody); w.Code != 500 { // nobody gets the reason
		t.Errorf("status %d", w.Code)
	}
}

func returns(err error) func(context.Context, string, json.RawMessage) error {
	return func(context.Context, string, json.RawMessage) error { return err }
}

func TestHandlerMethods(t *testing.T) {
	p := &puts{}
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"} {
		w := ask(&Handler{OnPut: p.put}, method, upstreamBody)
		if w.Code != 405 || w.Header().Get("Allow") != "POST" {
			t.Errorf("%s: %d, Allow: %q", method, w.Code, w.Header().Get("Allow"))
		}
	}
	for coding, want := range map[string]int{"gzip": 415, "identity": 201, "Identity": 201} {
		if w := ask(&Handler{OnPut: p.put}, "POST", upstreamBody, "Content-Encoding", coding); w.Code != want {
			t.Errorf("Content-Encoding: %s: %d, want %d", coding, w.Code, want)
		}
	}
	// Upstream ignores the Content-Type.
	for _, kind := range []string{"", "application/json", "text/plain", "nonsense"} {
		if w := ask(&Handler{OnPut: p.put}, "POST", upstreamBody, "Content-Type", kind); w.Code != 201 {
			t.Errorf("Content-Type: %s: %d", kind, w.Code)
		}
	}
}

// The longest body, and one that is a byte longer, with and without Content-Length.
func TestHandlerLimit(t *testing.T) {
	body := func(n int) string {
		const frame = `{"key":"k","event":""}`
		return `{"key":"k","event":"` + strings.Repeat("x", n-len(frame)) + `"}`
	}
	tests := []struct {
		name          string
		limit, budget int64
		size, status  int
	}{
		{"at the limit", 10000, 0, 10000, 201},
		{"beyond", 10000, 0, 10001, 413},
		{"at a small one", 100, 0, 100, 201},
		{"beyond a small one", 100, 0, 101, 413},
		{"none", -1, -1, 100000, 201},
		{"upstream's 10 MB by default", 0, 0, 10_000_000, 201},
		{"the default", 0, 0, DefaultLimit, 201},
		{"beyond the default", 0, 0, DefaultLimit + 1, 413},
		{"within the memory for all", 0, 200000, 100000, 201},
		{"beyond the memory for all", 0, 90000, 100000, 503},
	}
	for _, tt := range tests {
		for _, told := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/told %t", tt.name, told), func(t *testing.T) {
				p := &puts{}
				h := &Handler{OnPut: p.put, Limit: tt.limit, MaxPending: tt.budget}
				r := httptest.NewRequest("POST", "/", strings.NewReader(body(tt.size)))
				if !told {
					r.ContentLength = -1
				}
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if w.Code != tt.status || (p.all() != "") != (tt.status == 201) {
					t.Errorf("status %d %q, want %d", w.Code, w.Body, tt.status)
				}
				if left := h.pending.Load(); left != 0 {
					t.Errorf("%d bytes are still counted", left)
				}
			})
		}
	}
}

// A body whose Content-Length is too large is not read.
func TestHandlerLimitTold(t *testing.T) {
	r := httptest.NewRequest("POST", "/", readerFunc(func([]byte) (int, error) {
		t.Error("the body is read")
		return 0, io.EOF
	}))
	r.ContentLength = 11
	w := httptest.NewRecorder()
	(&Handler{Limit: 10}).ServeHTTP(w, r)
	if w.Code != 413 {
		t.Errorf("status %d, want 413", w.Code)
	}
}

// A body that comes too slowly, or breaks off, is not put.
func TestHandlerSlowBody(t *testing.T) {
	tests := []struct {
		name   string
		body   io.Reader
		limit  time.Duration
		status int
	}{
		{"in time", dripping(time.Second), time.Minute, 201},
		{"in the default time", dripping(500 * time.Millisecond), 0, 201},
		{"too slow", dripping(2 * time.Second), time.Minute, 408},
		{"too slow by default", dripping(time.Second), 0, 408},
		{"slow without a bound", dripping(time.Hour), -1, 201},
		{"breaks off", io.MultiReader(strings.NewReader(upstreamBody[:10]), iotest.ErrReader(io.ErrUnexpectedEOF)), 0, 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &puts{}
				w := httptest.NewRecorder()
				(&Handler{OnPut: p.put, ReadTimeout: tt.limit}).ServeHTTP(w, httptest.NewRequest("POST", "/", tt.body))
				if w.Code != tt.status || (p.all() != "") != (tt.status == 201) {
					t.Errorf("status %d %q, puts %q, want %d", w.Code, w.Body, p.all(), tt.status)
				}
			})
		})
	}
}

// dripping returns a body that comes byte by byte.
func dripping(pause time.Duration) io.Reader {
	return readerFunc(func() func(p []byte) (int, error) {
		r := iotest.OneByteReader(strings.NewReader(upstreamBody))
		return func(p []byte) (int, error) {
			time.Sleep(pause) // in the bubble's time
			return r.Read(p)
		}
	}())
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// The ctx of OnPut ends. If OnPut returns its error, the answer is 503.
func TestHandlerTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		waits := func(ctx context.Context, _ string, _ json.RawMessage) error {
			<-ctx.Done()
			return ctx.Err()
		}
		if w := ask(&Handler{OnPut: waits}, "POST", upstreamBody); w.Code != 503 || time.Since(begin) != DefaultTimeout {
			t.Errorf("status %d after %v", w.Code, time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour) // the client goes away
		defer cancel()
		begin = time.Now()
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(ctx, "POST", "/", strings.NewReader(upstreamBody))
		(&Handler{OnPut: waits, Timeout: -1}).ServeHTTP(w, r)
		if w.Code != 503 || time.Since(begin) != time.Hour {
			t.Errorf("status %d after %v", w.Code, time.Since(begin))
		}
	})
}

// The statuses of puts, in order, with a store behind the handler.
func TestHandlerWithStore(t *testing.T) {
	s := open(t, &Store{})
	h := &Handler{OnPut: s.Put}
	for _, tt := range []struct {
		name, body string
		status     int
	}{
		{"new", `{"key":"a","event":{"x":1,"y":2}}`, 201},
		{"again", `{"key":"a","event":{"x":1,"y":2}}`, 201},
		{"again, in another order", `{ "event": {"y":2.0,"x":1}, "key": "a" }`, 201},
		{"another", `{"key":"a","event":{"x":1}}`, 409},
		{"key too long", `{"key":"` + strings.Repeat("k", MaxKeySize+1) + `","event":1}`, 400},
	} {
		if w := ask(h, "POST", tt.body); w.Code != tt.status {
			t.Errorf("%s: %d %q, want %d", tt.name, w.Code, w.Body, tt.status)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if w := ask(h, "POST", upstreamBody); w.Code != 503 {
		t.Errorf("closed: %d, want 503", w.Code)
	}
}
