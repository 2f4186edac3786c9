package main

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// The rows of the chart exist, and a whole name is that row alone.
func TestChoose(t *testing.T) {
	var aims, echo int
	for _, r := range rows {
		aims += int(b2f(r.hasAim()))
		echo += int(b2f(strings.HasPrefix(r.name, "echo-w")))
	}
	for _, tc := range []struct {
		names string
		want  int
	}{
		{"", len(rows)},
		{chartRows(), len(chart)},
		{"echo-ws", 1},
		{"echo-w,echo-ws", echo},
		{"idle-tcp,idle-tcp", 1},
		{"aims", aims},
		{"rate-tcp-64", 2},
	} {
		if got, err := choose(tc.names); err != nil || len(got) != tc.want {
			t.Errorf("choose(%q) = %d rows, %v, want %d", tc.names, len(got), err, tc.want)
		}
	}
	if _, err := choose("echo-tcp,nonsense"); err == nil || !strings.Contains(err.Error(), "-list") {
		t.Errorf("of a row that there is not: %v", err)
	}
}

func b2f(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Each row has a name of its own, servers that exist, and figures with a unit.
func TestRows(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rows {
		if seen[r.name] || r.what == "" || r.unit == "" || r.measure == nil {
			t.Errorf("%s is not whole, or there twice", r.name)
		}
		seen[r.name] = true
		for _, name := range r.names() {
			if servers[name] == nil {
				t.Errorf("%s: no server %s", r.name, name)
			}
		}
		for i, a := range r.aims {
			if a.figure != "" && units[a.figure] == "" {
				t.Errorf("%s: the figure %s has no unit", r.name, a.figure)
			}
			if slices.Contains(r.aims[:i], a) {
				t.Errorf("%s: %v is there twice", r.name, a)
			}
		}
	}
}

// A line compares round by round, and an aim is reached at its bound.
func TestLines(t *testing.T) {
	r := &row{name: "r", unit: "us CPU", aims: []aim{
		{"slow", .5, ""}, {"fast", 1, ""}, {"", 6, ""}, {"slow", 1, "p99"}, {"", 1, "threads"},
	}}
	f := figures{}
	for round := range 3 { // the machine becomes ten times as slow in the second
		k := []float64{1, 10, 1}[round]
		f.add(0, map[string]float64{"": 5 * k, "p99": 2})
		f.add(1, map[string]float64{"": 10 * k, "p99": 1})
		f.add(2, map[string]float64{"": 4 * k, "p99": 4})
		f.add(3, map[string]float64{"": 5 * k, "p99": 2})
	}
	got := r.with(before).lines(f, "note")
	want := []line{
		{Peer: "slow", Ratio: .5, Unit: "us CPU", Reached: true},
		{Peer: "fast", Ratio: 1.25, Unit: "us CPU"},
		{Portluck: 5, Unit: "us CPU", Reached: true},
		{Peer: "slow", Ratio: 2, Unit: "ms", Figure: "p99"},
	}
	want = append(want, line{Peer: before, Ratio: 1, Unit: "us CPU"}, line{Peer: before, Ratio: 1, Unit: "ms", Figure: "p99"})
	if len(got) != len(want) {
		t.Fatalf("%d lines, want %d: %+v", len(got), len(want), got)
	}
	for i, w := range want {
		l := got[i]
		if l.Peer != w.Peer || math.Abs(l.Ratio-w.Ratio) > 1e-9 || l.Unit != w.Unit || l.Reached != w.Reached || l.Figure != w.Figure {
			t.Errorf("line %d = %+v, want %+v", i, l, w)
		}
	}
	if got[0].Note != "note" || got[1].Note != "" {
		t.Errorf("notes %q, %q: only the first line has one", got[0].Note, got[1].Note)
	}
}

// The peer before is compared in each figure, once, and has no aim.
func TestWith(t *testing.T) {
	for _, r := range rows {
		w := r.with(before)
		for _, a := range w.aims[len(r.aims):] {
			if a.peer != before || a.most != 0 {
				t.Errorf("%s: %v", r.name, a)
			}
		}
		if n := w.names(); n[len(n)-1] != before || len(n) != len(r.names())+1 {
			t.Errorf("%s: servers %v", r.name, n)
		}
	}
}

// A table has the aim beside each ratio, and whether it is met.
func TestCells(t *testing.T) {
	for _, tc := range []struct {
		l    line
		want []string
	}{
		{line{Row: "r", What: "w", Unit: "us CPU", Portluck: 5, Peer: "p", PeerHas: 10, Ratio: .5, Aim: .65, Reached: true}, []string{"w", "5 us CPU", "p", "10 us CPU", "0.500", "<= 0.65", "yes"}},
		{line{What: "w", Figure: "p99", Unit: "ms", Portluck: 30, Aim: 20}, []string{"w: p99", "30 ms", "", "", "", "<= 20 ms", "no"}},
		{line{What: "w", Unit: "ms", Portluck: 3, Peer: "p", PeerHas: 2, Ratio: 1.5}, []string{"w", "3 ms", "p", "2 ms", "1.500", "", ""}},
	} {
		got := tc.l.cells()
		if len(got) != len(columns) || !slices.Equal(got[1:8], tc.want) {
			t.Errorf("cells of %+v = %q, want %q", tc.l, got, tc.want)
		}
	}
}

func TestSleepOf(t *testing.T) {
	for size, want := range map[int]time.Duration{0: 0, 64: 0, 99: 0, 100: 100 * time.Millisecond, 128: 0, 1000: time.Second, 1100: 0, 16 << 10: 0} {
		if got := sleepOf(size); got != want {
			t.Errorf("sleepOf(%d) = %v, want %v", size, got, want)
		}
	}
}

// A portload gets the flags of its work.
func TestArgs(t *testing.T) {
	for _, tc := range []struct {
		w    work
		want string
	}{
		{work{do: "echo", proto: "ws", conns: 8, size: 64, depth: 2, rate: 1234.5, time: time.Second}, "echo --proto ws --time 1s --clients=8 --size=64 --depth=2 --rate=1234.5"},
		{work{do: "echo", proto: "tcp", conns: 8, size: 100, depth: 1, count: 8}, "--time 0s --count=8"},
		{work{do: "conn", proto: "https", conns: 4, size: 64, get: true}, "conn --proto https --get --path=/page --clients=4"},
		{work{do: "idle", proto: "http", conns: 9, from: 3, size: 5}, "idle --conns=9 --from=3 --burst=5"},
	} {
		got := tc.w.args()
		for flag := range strings.FieldsSeq(tc.want) {
			if !slices.Contains(got, flag) {
				t.Errorf("args of %+v = %v, without %s", tc.w, got, flag)
			}
		}
	}
}
