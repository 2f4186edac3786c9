package alldata

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/setting"
)

// DefaultURL is the URL of a [Client] whose URL is empty.
const DefaultURL = "http://localhost:8080/"

// A Client puts events to a peer. Its zero value sends to [DefaultURL]. It sends a failed put
// again, which is safe, as a peer stores the same event under the same key only once. Copy the
// Client to change a field for one call. Several goroutines may use it at once.
type Client struct {
	// URL is the URL of the peer's _put; [DefaultURL] if empty.
	URL string
	// Method is the method of the requests; POST if empty.
	Method string
	// HTTP sends the requests; if nil, one that follows no redirects, on the connections of
	// http.DefaultTransport.
	HTTP *http.Client
	// Attempts bounds how often a put is sent; 5 if zero, until its ctx ends if negative.
	Attempts int
	// Timeout bounds each attempt; 10 seconds if zero, no bound if negative.
	Timeout time.Duration
	// MinBackoff is the longest pause after the first attempt; 100 milliseconds if zero, no pause if
	// negative. It doubles after each attempt, up to MaxBackoff; 5 seconds if zero, no bound if
	// negative. The actual pause is random, from half of the longest on, so that clients do not all
	// come back at once. The Client also waits as long as a peer's Retry-After says, up to MaxBackoff.
	MinBackoff, MaxBackoff time.Duration
	// OnRetry, if not nil, is called after each failed attempt that is followed by another one.
	OnRetry func(key string, attempt int, err error)
}

// A StatusError is an answer that is not 201 Created. With the status 409 it is an [ErrConflict].
type StatusError struct {
	Status int
	Reason string // what the peer says
}

// Error returns the status, with the reason if the peer gave one.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("the peer answered %d %s", e.Status, http.StatusText(e.Status))
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}

// Is supports errors.Is.
func (e *StatusError) Is(target error) bool {
	return target == ErrConflict && e.Status == http.StatusConflict
}

// passing reports whether the same request may get another answer later.
func (e *StatusError) passing() bool {
	return e.Status >= 500 && e.Status != http.StatusNotImplemented ||
		e.Status == http.StatusRequestTimeout || e.Status == http.StatusTooManyRequests
}

var plainHTTP = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// message is the body of a _put, in upstream's order.
type message struct {
	Key   string          `json:"key"`
	Event json.RawMessage `json:"event"`
}

// Put sends the event, which is JSON, under its key until the peer answers 201 or refuses it for
// good, Attempts are used up, or ctx ends. If the error is neither nil, nor a [*StatusError], nor
// an [ErrInvalid], the event may or may not have been stored.
func (c *Client) Put(ctx context.Context, key string, event json.RawMessage) error {
	compact, err := check(key, event)
	if err != nil {
		return err
	}
	to := cmp.Or(c.URL, DefaultURL)
	if u, err := url.Parse(to); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%q is not a URL such as %s", to, DefaultURL)
	}
	body, err := encode(key, compact)
	if err != nil {
		return err
	}
	attempts := c.attempts()
	for attempt := 1; ; attempt++ {
		wait, err := c.try(ctx, to, body)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil && !isAnswer(err):
			return fmt.Errorf("put: %w", err)
		case int64(attempt) >= attempts || !isPassing(err):
			return fmt.Errorf("put, attempt %d: %w", attempt, err)
		}
		if c.OnRetry != nil {
			c.OnRetry(key, attempt, err)
		}
		if !handlers.Pause(ctx.Done(), c.backoff(attempt, wait)) {
			return fmt.Errorf("put, attempt %d: %w, then %w", attempt, err, ctx.Err())
		}
	}
}

// encode returns the body of a put. Unlike json.Marshal it does not escape text for HTML.
func encode(key string, event []byte) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(message{key, event}); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// try sends the request once. wait is the delay that the peer asks for with Retry-After.
func (c *Client) try(ctx context.Context, to string, body []byte) (wait time.Duration, err error) {
	ctx, cancel := bounded(ctx, c.Timeout, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, cmp.Or(c.Method, http.MethodPost), to, bytes.NewReader(body))
	if err != nil {
		return 0, permanent{err}
	}
	req.Header.Set("Content-Type", "application/json")
	client := c.HTTP
	if client == nil {
		client = plainHTTP
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	// Reading the body also lets the connection be used again.
	reason, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if resp.StatusCode == http.StatusCreated {
		return 0, nil
	}
	seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // 0 if there is no number
	wait = time.Duration(min(max(seconds, 0), 3600)) * time.Second
	return wait, &StatusError{Status: resp.StatusCode, Reason: line(string(bytes.TrimSpace(reason)))}
}

// permanent is an error that another attempt would repeat.
type permanent struct{ error }

func isAnswer(err error) bool {
	var status *StatusError
	return errors.As(err, &status)
}

// isPassing reports whether another attempt may succeed.
func isPassing(err error) bool {
	var status *StatusError
	var cert *tls.CertificateVerificationError
	var perm permanent
	switch {
	case errors.As(err, &status):
		return status.passing()
	case errors.As(err, &cert), errors.As(err, &perm):
		return false
	}
	return true
}

func (c *Client) attempts() int64 { return setting.Or(int64(c.Attempts), 5, math.MaxInt64) }

func (c *Client) maxBackoff() time.Duration {
	if c.MaxBackoff < 0 {
		return 100 * 365 * 24 * time.Hour
	}
	return cmp.Or(c.MaxBackoff, 5*time.Second)
}

// backoff returns the pause after an attempt. asked is the delay that the peer has asked for.
func (c *Client) backoff(attempt int, asked time.Duration) time.Duration {
	d := c.longest(attempt)
	return max(d/2+rand.N(d/2+1), min(asked, c.maxBackoff()))
}

// longest returns the longest pause after an attempt. The actual pause is random, from half of that
// on.
func (c *Client) longest(attempt int) time.Duration {
	most := c.maxBackoff()
	d := min(max(cmp.Or(c.MinBackoff, 100*time.Millisecond), 0), most)
	for range min(attempt-1, 40) {
		d = min(2*d, most)
	}
	return d
}

// bounded returns ctx with a timeout: standard if d is zero, none if d is negative.
func bounded(ctx context.Context, d, standard time.Duration) (context.Context, context.CancelFunc) {
	if d < 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, cmp.Or(d, standard))
}
