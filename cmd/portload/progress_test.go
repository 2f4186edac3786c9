package main

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A steadyWorker does a thing each millisecond. It takes 1 ms, or 20 ms each tenth time.
type steadyWorker struct {
	done    atomic.Int64
	latency histogram
}

func (w *steadyWorker) do(ctx context.Context, _ step) (tally, error) {
	pause(ctx, time.Millisecond/2) // not at the time of a line
	for ctx.Err() == nil {
		pause(ctx, time.Millisecond)
		took := time.Millisecond
		if w.done.Add(1)%10 == 0 {
			took *= 20
		}
		w.latency.record(took)
	}
	return w.progress(), nil
}

func (w *steadyWorker) progress() tally { return tally{Done: w.done.Load(), Latency: &w.latency} }
func (w *steadyWorker) close()          {}

// The line has the time, the messages, the rate and the tail, of all processes, and is erased at
// the end.
func TestTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &session{options: &options{plan: plan{Command: "echo"}}, crew: &crew{workers: []worker{&steadyWorker{}, &steadyWorker{}}}}
		var out strings.Builder
		stop := s.tell(&out)
		ctx, cancel := context.WithTimeout(t.Context(), 2100*time.Millisecond)
		defer cancel()
		if _, err := s.crew.do(ctx, step{}); err != nil {
			t.Fatal(err)
		}
		stop()
		lines := strings.Split(out.String(), eraseLine)
		if len(lines) != 12 || lines[0] != "" || lines[11] != "" {
			t.Fatalf("%d lines: %q", len(lines), lines)
		}
		last := lines[10]
		for _, want := range []string{"echo: 2 s, ", " messages, ", " 2000/s, ", "p99 20ms"} {
			if !strings.Contains(last, want) {
				t.Errorf("no %q in %q", want, last)
			}
		}
	})
}

// Before anything is done there is no tail.
func TestProgressLine(t *testing.T) {
	s := &session{options: &options{plan: plan{Command: "idle"}}}
	if got, want := s.progressLine(time.Second, tally{Latency: &histogram{}}, 0), "idle: 1 s, 0 connections, 0/s"; got != want {
		t.Errorf("progressLine() = %q, want %q", got, want)
	}
	if got, want := s.progressLine(time.Second, tally{Done: 7}, -100), "idle: 1 s, 7 connections, 0/s"; got != want {
		t.Errorf("progressLine() = %q, want %q", got, want)
	}
}
