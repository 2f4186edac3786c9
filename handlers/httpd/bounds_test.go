package httpd

import (
	"math"
	"net/http"
	"testing"
	"time"
)

// Zero is the default of a bound, and a negative value means no bound, also in the settings of
// net/http.
func TestBoundsOfAHandler(t *testing.T) {
	for _, tt := range []struct {
		name string
		of   func(d time.Duration) *http.Server
		zero time.Duration
		in   func(s *http.Server) time.Duration
	}{
		{
			"IdleTimeout", func(d time.Duration) *http.Server { return (&Handler{IdleTimeout: d}).server(true) },
			DefaultIdleTimeout, func(s *http.Server) time.Duration { return s.IdleTimeout },
		},
		{
			"IdleTimeout of a body", func(d time.Duration) *http.Server { return (&Handler{IdleTimeout: d}).server(true) },
			DefaultIdleTimeout, func(s *http.Server) time.Duration { return s.ReadTimeout },
		},
		{
			"HeaderTimeout", func(d time.Duration) *http.Server { return (&Handler{HeaderTimeout: d}).server(true) },
			DefaultHeaderTimeout, func(s *http.Server) time.Duration { return s.ReadHeaderTimeout },
		},
	} {
		for _, v := range []struct {
			name        string
			value, want time.Duration
		}{{"zero", 0, tt.zero}, {"negative", -time.Hour, -1}, {"set", time.Second, time.Second}} {
			if got := max(tt.in(tt.of(v.value)), -1); got != v.want {
				t.Errorf("%s %s: net/http has %v, want %v", tt.name, v.name, got, v.want)
			}
		}
	}
	for value, want := range map[int]int{0: 64 << 10, -1: math.MaxInt32, 100: 100} {
		if got := (&Handler{MaxHeaderBytes: value}).server(true).MaxHeaderBytes; got != want {
			t.Errorf("MaxHeaderBytes %d: net/http has %d, want %d", value, got, want)
		}
	}
	for value, want := range map[int]int{0: laneMost, -1: 0, 100: 100, 1 << 20: laneMost} {
		if got := (&Handler{MaxInline: value}).maxInline(); got != want {
			t.Errorf("MaxInline %d: %d, want %d", value, got, want)
		}
	}
}
