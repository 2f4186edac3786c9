package main

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// summary has the fields of every report.
type summary struct {
	Command     string  `json:"command"`
	Addr        string  `json:"addr"`
	Proto       string  `json:"proto"`
	Processes   int     `json:"processes"` // of portload
	Seconds     float64 `json:"seconds"`
	Interrupted bool    `json:"interrupted,omitempty"`
	Failed      int64   `json:"failed"`
	Error       string  `json:"error,omitempty"` // the first one
	ClientCPU   float64 `json:"client_cpu_seconds,omitempty"`
	Server      *served `json:"server,omitempty"`
}

// served holds what the server has used.
type served struct {
	CPU        float64 `json:"cpu_seconds"`
	System     float64 `json:"system_seconds"` // of them in the kernel
	Waits      int64   `json:"waits"`          // times that a thread gave up the processor
	RSSBefore  int64   `json:"rss_before"`
	RSSAfter   int64   `json:"rss_after"`
	HeapBefore int64   `json:"heap_before"`
	HeapAfter  int64   `json:"heap_after"`
	Threads    int64   `json:"threads"`
	Gone       bool    `json:"gone,omitempty"` // it ended meanwhile
}

// latencies are in seconds.
type latencies struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
	// P999 is the 99.9 % quantile.
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

func newLatencies(h *histogram) latencies {
	if h == nil {
		return latencies{}
	}
	at := func(q float64) float64 { return h.quantile(q).Seconds() }
	return latencies{at(.5), at(.9), at(.99), at(.999), at(1)}
}

func (l latencies) String() string {
	return fmt.Sprintf("p50 %v  p90 %v  p99 %v  p99.9 %v  max %v",
		brief(l.P50), brief(l.P90), brief(l.P99), brief(l.P999), brief(l.Max))
}

// brief rounds a duration to three digits.
func brief(seconds float64) time.Duration {
	d := time.Duration(seconds * float64(time.Second))
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}

func (s *summary) common() *summary { return s }

// failure returns an error if something failed.
func (s *summary) failure() error {
	switch {
	case s.Server != nil && s.Server.Gone:
		return errors.New("the server ended")
	case s.Failed > 0:
		return fmt.Errorf("%d failed: %s", s.Failed, s.Error)
	}
	return nil
}

// row writes a line of a report.
func row(w io.Writer, name, format string, args ...any) {
	fmt.Fprintf(w, "  %-12s %s\n", name, fmt.Sprintf(format, args...))
}

// printTitle writes the first line.
func (s *summary) printTitle(w io.Writer, what string) {
	end := ""
	if s.Interrupted {
		end = ", interrupted"
	}
	fmt.Fprintf(w, "%s %s %s: %s, %.1f s%s\n", s.Command, s.Proto, s.Addr, what, s.Seconds, end)
}

// printRest writes the last lines, which every report has.
func (s *summary) printRest(w io.Writer) {
	if s.Failed > 0 {
		row(w, "failed", "%d, the first: %s", s.Failed, s.Error)
	}
	if v := s.Server; v != nil {
		row(w, "server", "CPU %.2f s (%.0f%%), memory %s -> %s, %d threads",
			v.CPU, per(v.CPU, s.Seconds)*100, size(v.RSSBefore), size(v.RSSAfter), v.Threads)
	}
	if s.ClientCPU > 0 {
		row(w, "client", "CPU %.2f s (%.0f%%), %d processes", s.ClientCPU, per(s.ClientCPU, s.Seconds)*100, s.Processes)
	}
}

// perCPU returns n for each CPU second of the server; 0 if that is unknown.
func (s *summary) perCPU(n int64) float64 {
	if s.Server == nil {
		return 0
	}
	return per(float64(n), s.Server.CPU)
}

// printRate writes a count and its rate.
func (s *summary) printRate(w io.Writer, what string, n int64) {
	if s.Server != nil {
		row(w, what, "%d, %.0f/s, %.0f per server CPU second", n, per(float64(n), s.Seconds), s.perCPU(n))
		return
	}
	row(w, what, "%d, %.0f/s", n, per(float64(n), s.Seconds))
}

// per returns n/d; 0 if d is not positive.
func per(n, d float64) float64 {
	if d <= 0 {
		return 0
	}
	return n / d
}

// size formats a number of bytes.
func size(n int64) string {
	switch {
	case n >= 10<<20 || n <= -10<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 10<<10 || n <= -10<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

// plural returns "1 thing" or "2 things".
func plural(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}
