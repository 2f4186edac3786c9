package main

import (
	"context"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

func pid() string { return strconv.Itoa(os.Getpid()) }

func TestFanout(t *testing.T) {
	for _, tc := range []struct {
		name  string
		proto string
		args  []string
		want  map[string]float64
	}{
		{"one by one", "tcp", nil, map[string]float64{"members": 8, "deliveries": 160}},
		{"WebSocket", "ws", []string{"--size", "1000"}, map[string]float64{"members": 8, "deliveries": 160}},
		{"goroutines", "ws", []string{"--goroutines"}, map[string]float64{"members": 8, "deliveries": 160}},
		{"rate", "tcp", []string{"--rate", "500"}, map[string]float64{"members": 8, "deliveries": 160}},
		{"flood", "tcp", []string{"--window", "0"}, map[string]float64{"members": 8, "deliveries": 160}},
		{"window", "ws", []string{"--window", "6", "--batch", "3"}, map[string]float64{"members": 8, "deliveries": 160}},
		{"batches", "tcp", []string{"--rate", "5000", "--batch", "3"}, map[string]float64{"members": 8, "deliveries": 160}},
		{"join", "ws", []string{"--join", "hello"}, map[string]float64{"members": 8, "deliveries": 160}},
		{"stuck", "tcp", []string{"--stuck", "3"}, map[string]float64{"members": 5, "deliveries": 100, "stuck_disconnected": 0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, tc.proto, &testServer{toAll: true})
			r, err := load(t, append([]string{"fanout", s.addr, "--proto", tc.proto, "--members", "8", "--count", "20"}, tc.args...)...)
			if err != nil {
				t.Error(err)
			}
			want(t, r, tc.want)
			want(t, r, map[string]float64{"published": 20, "lost": 0, "gaps": 0, "doubled": 0, "late": 0, "disconnected": 0, "stalls": 0})
		})
	}
}

// What a server does wrong is counted. Member 3 has it worst; client 0 was only the first try.
func TestFanoutWrong(t *testing.T) {
	for _, tc := range []struct {
		name  string
		count func(i int, seq int64) int
		want  map[string]float64
		err   string
	}{
		{
			"loses", func(_ int, seq int64) int { return int(min(seq%5, 1)) },
			map[string]float64{"deliveries": 64, "lost": 16, "gaps": 16, "disconnected": 0},
			"16 lost",
		},
		{
			"doubles", func(_ int, seq int64) int { return 2 - int(min(seq%5, 1)) },
			map[string]float64{"deliveries": 80, "lost": 0, "doubled": 16},
			"16 doubled",
		},
		{
			"disconnects", func(i int, seq int64) int { return 1 - 2*b2i(i == 3 && seq == 10) },
			map[string]float64{"deliveries": 60 + 9, "lost": 0, "disconnected": 1, "missed": 11, "members": 3},
			"1 member disconnected",
		},
		{
			"disconnects a stuck one", func(i int, seq int64) int { return 1 - 2*b2i(i == 1 && seq == 10) },
			map[string]float64{"deliveries": 80, "lost": 0, "disconnected": 0, "stuck_disconnected": 1, "members": 4},
			"",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, "tcp", &testServer{toAll: true, answers: func(i int, msg []byte) int {
				seq, _, ok := parsePublished(msg)
				if !ok || seq == 0 {
					return 1
				}
				return tc.count(i, seq)
			}})
			r, err := load(t, "fanout", s.addr, "--members", "5", "--stuck", "1", "--count", "20", "--window", "0", "--settle", "2s")
			want(t, r, tc.want)
			if tc.err != "" {
				wantError(t, err, tc.err)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A publisher waits for a message that a member does not receive, but only for --timeout.
func TestFanoutStalls(t *testing.T) {
	t.Parallel()
	s := startServer(t, "tcp", &testServer{toAll: true, answers: func(i int, msg []byte) int {
		seq, _, _ := parsePublished(msg)
		return 1 - b2i(i == 1 && seq == 3)
	}})
	r, err := load(t, "fanout", s.addr, "--members", "3", "--count", "5", "--timeout", "4s")
	wantError(t, err, "1 lost")
	want(t, r, map[string]float64{"stalls": 1, "deliveries": 14, "lost": 1, "gaps": 1, "published": 5})
}

func TestFanoutNobodyHears(t *testing.T) {
	t.Parallel()
	s := startServer(t, "tcp", &testServer{})
	_, err := load(t, "fanout", s.addr, "--timeout", "4s")
	wantError(t, err, "not every member received a first message within 4s")
}

// A publisher has no more messages under way than its window. Member 1 never receives message 3.
func TestFanoutWindow(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var highest atomic.Int64
	s := startServer(t, "tcp", &testServer{toAll: true, answers: func(i int, msg []byte) int {
		seq, _, _ := parsePublished(msg)
		if seq == 8 && highest.Load() < 8 {
			time.AfterFunc(100*time.Millisecond, cancel) // time for one too many
		}
		highest.Store(max(highest.Load(), seq))
		return 1 - b2i(i == 1 && seq >= 3)
	}})
	_, err := loadUntil(ctx, t, "fanout", s.addr, "--members", "3", "--count", "20", "--window", "6", "--batch", "2", "--settle", "1ms")
	wantError(t, err, "lost")
	if got := highest.Load(); got != 8 {
		t.Errorf("the window of 6 after message 2 ends with %d, want 8", got)
	}
}

func TestFloor(t *testing.T) {
	f := newFloor()
	for range 3 {
		f.enter(0)
	}
	for i, tc := range []struct{ from, to, want int64 }{{0, 1, 0}, {0, 5, 0}, {0, 1, 1}, {1, 2, 1}, {1, 900, 2}, {2, 3, 3}, {3, 900, 5}, {5, 901, 900}} {
		f.leave(tc.from)
		f.enter(tc.to)
		if got := f.lowest(); got != tc.want {
			t.Errorf("step %d: lowest() = %d, want %d", i, got, tc.want)
		}
	}
}

func TestTrack(t *testing.T) {
	for _, tc := range []struct {
		name string
		seqs []int64
		want delivery
	}{
		{"in order", []int64{1, 2, 3}, delivery{Messages: 3}},
		{"a gap", []int64{1, 5}, delivery{Messages: 2, Lost: 3, Gaps: 1}},
		{"doubled", []int64{1, 1, 2, 2, 1}, delivery{Messages: 2, Doubled: 3}},
		{"late", []int64{1, 3, 2, 4}, delivery{Messages: 4, Gaps: 1, Late: 1}},
		{"late and doubled", []int64{1, 3, 2, 2}, delivery{Messages: 3, Gaps: 1, Late: 1, Doubled: 1}},
		{"far ahead", []int64{1, 200, 137, 138}, delivery{Messages: 4, Lost: 196, Gaps: 1, Late: 2}},
		{"too late to know", []int64{200, 100}, delivery{Messages: 1, Lost: 199, Gaps: 1, Doubled: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got delivery
			track := newTrack()
			for _, seq := range tc.seqs {
				track.take(seq, &got)
			}
			if got != tc.want {
				t.Errorf("take(%v) = %+v, want %+v", tc.seqs, got, tc.want)
			}
		})
	}
}
