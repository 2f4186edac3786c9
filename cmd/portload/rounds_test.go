package main

import (
	"bufio"
	"encoding/json"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// A rounder is portload with --rounds.
type rounder struct {
	in      io.WriteCloser
	reports *bufio.Scanner
	ended   chan error
}

// startRounds starts portload with --rounds, until the test ends.
func startRounds(t *testing.T, args ...string) *rounder {
	t.Helper()
	orders, in := io.Pipe()
	out, reports := io.Pipe()
	root := newRoot()
	root.SetArgs(append(args, "--json", "--insecure", "--rounds"))
	root.SetIn(orders)
	root.SetOut(reports)
	r := &rounder{in: in, reports: bufio.NewScanner(out), ended: make(chan error, 1)}
	go func() { // ends with the input, which end or the cleanup closes
		err := root.ExecuteContext(t.Context())
		reports.Close()
		orders.Close()
		r.ended <- err
	}()
	t.Cleanup(func() {
		in.Close()
		out.Close()
	})
	return r
}

// round begins a round and returns its report.
func (r *rounder) round(t *testing.T) map[string]any {
	t.Helper()
	if _, err := io.WriteString(r.in, "\n"); err != nil {
		t.Fatalf("%v; portload: %v", err, <-r.ended)
	}
	if !r.reports.Scan() {
		t.Fatalf("no report; portload: %v", <-r.ended)
	}
	report := map[string]any{}
	if err := json.Unmarshal(r.reports.Bytes(), &report); err != nil {
		t.Fatalf("%v in %s", err, r.reports.Bytes())
	}
	return report
}

// end closes the input. There must be no more reports.
func (r *rounder) end(t *testing.T) error {
	t.Helper()
	r.in.Close()
	if r.reports.Scan() {
		t.Errorf("one more report: %s", r.reports.Bytes())
	}
	return <-r.ended
}

// Each line is one measurement, of the same connections, which begins from nothing.
func TestRounds(t *testing.T) {
	for _, tc := range []struct {
		args string
		want map[string]float64
	}{
		{"conn --clients 3 --count 7", map[string]float64{"connections": 7}},
		{"echo --clients 3 --count 20 --depth 2", map[string]float64{"messages": 20, "clients": 3}},
		{"echo --proto wss --clients 3 --count 20 --depth 3 --size 20000", map[string]float64{"messages": 20, "clients": 3}},
		{"echo --clients 5 --count 20 --files 67", map[string]float64{"messages": 20, "processes": 2}},
		{"fanout --members 4 --count 6", map[string]float64{"published": 6, "deliveries": 24, "lost": 0, "members": 4}},
		{"fanout --proto ws --members 4 --count 9 --window 4 --batch 2 --stuck 1", map[string]float64{"published": 9, "deliveries": 27, "stalls": 0}},
		{"fanout --members 6 --count 6 --files 67", map[string]float64{"published": 6, "deliveries": 36, "processes": 2}},
	} {
		t.Run(tc.args, func(t *testing.T) {
			t.Parallel()
			args := strings.Fields(tc.args)
			proto := "tcp"
			if i := slices.Index(args, "--proto"); i > 0 {
				proto = args[i+1]
			}
			s := startServer(t, proto, &testServer{toAll: args[0] == "fanout"})
			r := startRounds(t, append(args, s.addr)...)
			tc.want["failed"] = 0
			for range 3 {
				want(t, r.round(t), tc.want)
			}
			if err := r.end(t); err != nil {
				t.Error(err)
			}
			accepted, most := s.accepted(), 2+8 // those of its first try, and of the publisher
			if args[0] != "conn" && accepted > most {
				t.Errorf("%d connections, want at most %d", accepted, most)
			}
		})
	}
}

// A round that is over for its time leaves no echo to the next one.
func TestRoundsForATime(t *testing.T) {
	t.Parallel()
	for _, proto := range []string{"tcp", "tls"} {
		s := startServer(t, proto, &testServer{})
		r := startRounds(t, "echo", s.addr, "--proto", proto, "--clients", "2", "--depth", "8", "--time", "20ms")
		for range 5 {
			if report := r.round(t); report["failed"].(float64) != 0 || report["messages"].(float64) < 16 {
				t.Errorf("%v", report)
			}
		}
		if err := r.end(t); err != nil {
			t.Error(err)
		}
	}
}

// With idle a line ends a pause, and what was found out is printed before the next.
func TestRoundsOfIdle(t *testing.T) {
	t.Parallel()
	s := startServer(t, "tcp", &testServer{})
	r := startRounds(t, "idle", s.addr, "--conns", "9", "--from", "3", "--settle", "1h", "--time", "1h", "--burst", "5", "--line", "hello")
	for _, conns := range []float64{3, 9, 9, 9, 9} {
		want(t, r.round(t), map[string]float64{"conns": conns, "closed": 0, "failed": 0})
	}
	// The server may not have accepted all of them yet.
	for late := time.Now().Add(time.Minute); s.open() < 9; time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("%d connections are open after the last report, want 9", s.open())
		}
	}
	if err := r.end(t); err != nil {
		t.Error(err)
	}
	r = startRounds(t, "idle", s.addr, "--conns", "9", "--settle", "1h")
	want(t, r.round(t), map[string]float64{"conns": 1})
	if err := r.end(t); err != nil {
		t.Error(err)
	}
}

// A failure ends the rounds, after its report.
func TestRoundsFail(t *testing.T) {
	t.Parallel()
	s := startServer(t, "tcp", &testServer{toAll: true, answers: func(i int, msg []byte) int {
		seq, _, _ := parsePublished(msg)
		return 1 - b2i(i == 1 && seq == 7)
	}})
	r := startRounds(t, "fanout", s.addr, "--members", "3", "--count", "5", "--window", "0", "--settle", "500ms")
	want(t, r.round(t), map[string]float64{"lost": 0, "deliveries": 15})
	want(t, r.round(t), map[string]float64{"lost": 1, "deliveries": 14})
	wantError(t, r.end(t), "1 lost")
}

// Each field of a report is explained, and nothing else.
func TestJSONHelp(t *testing.T) {
	help := newJSON().Long
	for _, r := range []report{&connReport{}, &echoReport{}, &idleReport{}, &fanoutReport{}} {
		for _, name := range fieldNames(reflect.TypeOf(r).Elem()) {
			if !slices.Contains(strings.FieldsFunc(help, func(r rune) bool { return strings.ContainsRune(" ,:\n", r) }), name) {
				t.Errorf("%T has a field %s, which portload help json does not explain", r, name)
			}
		}
	}
}

// fieldNames are the names in JSON of t's fields, and of theirs.
func fieldNames(t reflect.Type) (names []string) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		return fieldNames(t.Elem())
	case reflect.Struct:
		for f := range t.Fields() {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
				names = append(names, name)
			}
			if f.IsExported() || f.Anonymous {
				names = append(names, fieldNames(f.Type)...)
			}
		}
	}
	return names
}
