package alldata

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// transport answers requests in memory.
type transport func(r *http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (f transport) client() *http.Client { return &http.Client{Transport: f} }

func status(code int, body string, header ...string) *http.Response {
	w := httptest.NewRecorder()
	for i := 0; i < len(header); i += 2 {
		w.Header().Set(header[i], header[i+1])
	}
	w.WriteHeader(code)
	io.WriteString(w, body)
	return w.Result()
}

// The client repeats a put, with the same bytes, only if its failure may pass.
func TestClientRetries(t *testing.T) {
	tests := []struct {
		name    string
		answers []int // 0 means no connection
		tries   int
		status  int // of the error; 0 for another error, -1 for none
	}{
		{"at once", []int{201}, 1, -1},
		{"after no connection", []int{0, 0, 201}, 3, -1},
		{"after errors that pass", []int{500, 503, 502, 429, 201}, 5, -1},
		{"after a timeout", []int{408, 504, 201}, 3, -1},
		{"as often as it may", []int{500, 500, 500, 500, 503, 201}, 5, 503},
		{"never a connection", []int{0, 0, 0, 0, 0, 201}, 5, 0},
		{"not what is no success", []int{200, 201}, 1, 200},
		{"not a redirect", []int{307, 201}, 1, 307},
		{"not a conflict", []int{409, 201}, 1, 409},
		{"not what it did wrong", []int{400, 201}, 1, 400},
		{"not what is too long", []int{413, 201}, 1, 413},
		{"not a method that the peer lacks", []int{501, 201}, 1, 501},
		{"a conflict after no connection", []int{0, 409}, 2, 409},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries, retries := 0, 0
				c := &Client{
					OnRetry: func(key string, attempt int, err error) {
						if retries++; attempt != retries || err == nil || key != "k" {
							t.Errorf("OnRetry(%q, %d, %v)", key, attempt, err)
						}
					},
					HTTP: transport(func(r *http.Request) (*http.Response, error) {
						body, _ := io.ReadAll(r.Body)
						if string(body) != `{"key":"k","event":["<é>"]}` || r.ContentLength != int64(len(body)) || r.Method != "POST" {
							t.Errorf("%s %q", r.Method, body)
						}
						tries++
						if code := tt.answers[tries-1]; code > 0 {
							return status(code, "words\n"), nil
						}
						return nil, errors.New("no connection")
					}).client(),
				}
				err := c.Put(t.Context(), "k", json.RawMessage(`[ "<é>" ]`))
				var answer *StatusError
				switch {
				case tries != tt.tries || retries != tt.tries-1:
					t.Errorf("%d tries, %d retries, want %d: %v", tries, retries, tt.tries, err)
				case (err == nil) != (tt.status == -1):
					t.Errorf("Put() = %v", err)
				case tt.status > 0 && (!errors.As(err, &answer) || answer.Status != tt.status || answer.Reason != "words"):
					t.Errorf("Put() = %v, want %d", err, tt.status)
				case errors.Is(err, ErrConflict) != (tt.status == 409):
					t.Errorf("Put() = %v, is a conflict %t", err, errors.Is(err, ErrConflict))
				}
			})
		})
	}
}

// The pauses double up to their bound. Half of each is random. They last at least as long as the
// peer asks for.
func TestClientBackoff(t *testing.T) {
	tests := []struct {
		name     string
		c        Client
		attempt  int
		asked    time.Duration
		min, max time.Duration
	}{
		{"first", Client{}, 1, 0, 50 * time.Millisecond, 100 * time.Millisecond},
		{"third", Client{}, 3, 0, 200 * time.Millisecond, 400 * time.Millisecond},
		{"bounded", Client{}, 1000, 0, 2500 * time.Millisecond, 5 * time.Second},
		{"asked for", Client{}, 1, 2 * time.Second, 2 * time.Second, 2 * time.Second},
		{"asked for too much", Client{}, 1, time.Hour, 5 * time.Second, 5 * time.Second},
		{"its own", Client{MinBackoff: time.Second, MaxBackoff: 3 * time.Second}, 2, 0, time.Second, 2 * time.Second},
		{"its own bound", Client{MinBackoff: time.Minute, MaxBackoff: time.Second}, 1, 0, time.Second / 2, time.Second},
		{"next to none", Client{MinBackoff: 1, MaxBackoff: 1}, 3, 0, 0, 1},
	}
	for _, tt := range tests {
		for range 100 {
			if d := tt.c.backoff(tt.attempt, tt.asked); d < tt.min || d > tt.max {
				t.Errorf("%s: %v, want %v to %v", tt.name, d, tt.min, tt.max)
				break
			}
		}
	}
}

// The client waits as long as Retry-After says. Timeout bounds each attempt, and ctx all of them.
func TestClientTime(t *testing.T) {
	hangs := transport(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		busy := transport(func(*http.Request) (*http.Response, error) {
			if tries++; tries == 2 {
				return status(201, ""), nil
			}
			return status(503, "", "Retry-After", "3"), nil
		})
		begin := time.Now()
		if err := (&Client{HTTP: busy.client()}).Put(t.Context(), "k", json.RawMessage("1")); err != nil || time.Since(begin) != 3*time.Second {
			t.Errorf("Put() = %v after %v", err, time.Since(begin))
		}

		begin = time.Now()
		err := (&Client{HTTP: hangs.client(), Attempts: 3}).Put(t.Context(), "k", json.RawMessage("1"))
		if took := time.Since(begin); !errors.Is(err, context.DeadlineExceeded) || took < 30*time.Second || took > 31*time.Second {
			t.Errorf("Put() = %v after %v, want three times 10 s", err, took)
		}

		begin = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		err = (&Client{HTTP: hangs.client()}).Put(ctx, "k", json.RawMessage("1"))
		if took := time.Since(begin); !errors.Is(err, context.DeadlineExceeded) || took != 15*time.Second {
			t.Errorf("Put() = %v after %v, want 15 s", err, took)
		}

		ctx, cancel = context.WithCancel(t.Context())
		refuses := transport(func(*http.Request) (*http.Response, error) {
			time.AfterFunc(time.Millisecond, cancel) // during the pause
			return status(500, ""), nil
		})
		err = (&Client{HTTP: refuses.client()}).Put(ctx, "k", json.RawMessage("1"))
		var answer *StatusError
		if !errors.Is(err, context.Canceled) || !errors.As(err, &answer) {
			t.Errorf("Put() = %v, want the last answer and context.Canceled", err)
		}
	})
}

// The client does not send what is not valid.
func TestClientRefuses(t *testing.T) {
	never := transport(func(*http.Request) (*http.Response, error) {
		t.Error("a request was sent")
		return nil, io.EOF
	})
	tests := []struct {
		name, url, method, key, event string
		invalid                       bool
	}{
		{"no key", "", "", "", "1", true},
		{"no event", "", "", "k", "", true},
		{"no JSON", "", "", "k", "{foo}", true},
		{"no URL", "localhost:8080", "", "k", "1", false},
		{"no host", "http:///_put", "", "k", "1", false},
		{"another scheme", "ws://localhost/", "", "k", "1", false},
		{"no method", "", "A B", "k", "1", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &Client{URL: tt.url, Method: tt.method, HTTP: never.client()}
			err := c.Put(t.Context(), tt.key, json.RawMessage(tt.event))
			if err == nil || errors.Is(err, ErrInvalid) != tt.invalid {
				t.Errorf("Put() = %v", err)
			}
		})
	}
}

// The client does not try a peer again whose certificate is not valid.
func TestClientCertificate(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	c := &Client{URL: srv.URL, OnRetry: func(_ string, _ int, err error) { t.Errorf("it tries again after %v", err) }}
	var cert *tls.CertificateVerificationError
	if err := c.Put(t.Context(), "k", json.RawMessage("1")); !errors.As(err, &cert) {
		t.Errorf("Put() = %v", err)
	}
}

// A reason that is too long, or not text, is shortened to one line.
func TestClientReason(t *testing.T) {
	for body, want := range map[string]string{
		"":                         "the peer answered 404 Not Found",
		"not here\n":               "the peer answered 404 Not Found: not here",
		"two\nlines\x1b[0m\xff":    "the peer answered 404 Not Found: two lines [0m\uFFFD",
		strings.Repeat("é", 10000): "the peer answered 404 Not Found: " + strings.Repeat("é", 100) + "...",
	} {
		c := &Client{HTTP: transport(func(*http.Request) (*http.Response, error) { return status(404, body), nil }).client()}
		err := c.Put(t.Context(), "k", json.RawMessage("1"))
		var answer *StatusError
		if !errors.As(err, &answer) || answer.Error() != want {
			t.Errorf("%.20q: %q, want %q", body, err, want)
		}
	}
}

// While a server loses every second answer, every put still arrives at the store once.
func TestClientAndStore(t *testing.T) {
	s := open(t, &Store{})
	h := &Handler{OnPut: s.Put}
	n := 0
	url := listen(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n++; n%2 == 1 {
			h.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler) // the event is stored, but the client gets no answer
		}
		h.ServeHTTP(w, r)
	})})
	c := &Client{URL: url, MinBackoff: 1, Timeout: time.Minute}
	for i := range 20 {
		if err := c.Put(t.Context(), fmt.Sprintf("%02d", i), json.RawMessage("1")); err != nil {
			t.Errorf("Put() = %v", err)
		}
	}
	if got, err := s.Len(); got != 20 || err != nil || n != 40 {
		t.Errorf("%d events, %v, by %d requests, want 20 and 40", got, err, n)
	}
	if err := c.Put(t.Context(), "00", json.RawMessage("2")); !errors.Is(err, ErrConflict) {
		t.Errorf("Put() of another event = %v", err)
	}
}
