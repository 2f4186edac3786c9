package alldata

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers/internal/boundtest"
)

// Zero is the default of a bound, and a negative value means no bound.
func TestBounds(t *testing.T) {
	const none = boundtest.None
	boundtest.Check(t, nil,
		boundtest.Field("Attempts", 5, none, func(c *Client) int64 { return c.attempts() }),
		boundtest.Field("Timeout", int64(10*time.Second), none, func(c *Client) int64 { return timeoutOf(t, c) }),
		boundtest.Field("MinBackoff", int64(100*time.Millisecond), 0, func(c *Client) int64 { return int64(c.longest(1)) }),
		boundtest.Field("MaxBackoff", int64(5*time.Second), none, func(c *Client) int64 { return int64(c.longest(1000)) }),
	)
	boundtest.Check(t, nil,
		boundtest.Field("Limit", DefaultLimit, none, func(h *Handler) int64 { return h.limit() }),
		boundtest.Field("MaxPending", DefaultMaxPending, none, func(h *Handler) int64 { return h.maxPending() }),
		boundtest.Field("ReadTimeout", int64(DefaultReadTimeout), none, func(h *Handler) int64 { return until(h.deadline()) }),
		boundtest.Field("Timeout", int64(DefaultTimeout), none, func(h *Handler) int64 {
			var left int64
			h.OnPut = func(ctx context.Context, _ string, _ json.RawMessage) error {
				at, _ := ctx.Deadline()
				left = until(at)
				return nil
			}
			if err := h.call(httptest.NewRequest("POST", "/", nil), "key", nil); err != nil {
				t.Error(err)
			}
			return left
		}),
	)
	boundtest.Check(t, nil,
		boundtest.Field("MaxConns", 1000, none, func(s *Server) int64 { return s.maxConns() }),
		boundtest.Field("IdleTimeout", int64(2*time.Minute), none, func(s *Server) int64 { return int64(max(s.server().IdleTimeout, none)) }),
		boundtest.Field("HeaderTimeout", int64(10*time.Second), none, func(s *Server) int64 {
			return int64(max(s.server().ReadHeaderTimeout, none))
		}),
		boundtest.Field("WriteTimeout", int64(2*time.Minute), none, func(s *Server) int64 { return int64(max(s.server().WriteTimeout, none)) }),
		boundtest.Field("CloseTimeout", int64(10*time.Second), none, func(s *Server) int64 {
			ctx, cancel := s.closeContext()
			defer cancel()
			at, _ := ctx.Deadline()
			return until(at)
		}),
	)
	boundtest.Check(t, nil,
		boundtest.Field("LockTimeout", int64(time.Second), none, func(s *Store) int64 {
			if d := s.options(false).Timeout; d != 0 {
				return int64(d)
			}
			return none // bbolt's value
		}),
		boundtest.Field("MaxPending", DefaultMaxPending, none, func(s *Store) int64 { return s.maxPending() }),
	)
}

// until returns the time to a deadline in seconds; none if there is no deadline.
func until(at time.Time) int64 {
	if at.IsZero() {
		return boundtest.None
	}
	return int64(time.Until(at).Round(time.Second))
}

// timeoutOf returns how long an attempt of c may take.
func timeoutOf(t *testing.T, c *Client) int64 {
	var left int64
	c.HTTP = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		at, _ := r.Context().Deadline()
		left = until(at)
		return &http.Response{StatusCode: http.StatusCreated, Body: http.NoBody}, nil
	})}
	if err := c.Put(t.Context(), "key", json.RawMessage("1")); err != nil {
		t.Error(err)
	}
	return left
}

type roundTrip func(r *http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
