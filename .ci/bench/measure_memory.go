package main

import (
	"fmt"
	"time"
)

// How many connections the memory is measured between. With TLS there are fewer, because the
// handshakes take long; with the same cost for each it makes no difference.
const (
	fewConns    = 2_000
	manyConns   = 15_000
	manySecure  = 8_000
	manyOfAPeer = 4_000 // that are secure
	settleTime  = 1500 * time.Millisecond
)

// measureMemory opens connections that then wait, and compares what one more of them costs.
func measureMemory(r *row, o options) ([]line, error) {
	var of [][]float64
	var note string
	idle := true
	for i, name := range r.names() {
		w := o.of(r)
		switch {
		case isSecure(w.proto) && (i == 0 || name == before):
			w.conns = o.part(manySecure)
		case isSecure(w.proto):
			w.conns = o.part(manyOfAPeer)
		}
		heap, few, full, err := slope(r, o, name, w)
		if err != nil {
			return nil, err
		}
		of = append(of, []float64{heap})
		if i == 0 {
			each := func(few, full int64) float64 { return float64(full-few) / float64(w.conns-w.from) }
			idle = full.Goroutines < w.from
			note = fmt.Sprintf("Go's heap %.0f B, stacks %.0f B, %d goroutines at %d connections",
				each(few.Heap, full.Heap), each(few.Stacks, full.Stacks), full.Goroutines, w.conns)
		}
	}
	lines := r.lines(of, note)
	for i := range lines {
		lines[i].Reached = lines[i].Reached && idle // no goroutine is a part of the aim
	}
	return lines, nil
}

// slope is what one more connection costs a server, and what it has with few and with many of them.
func slope(r *row, o options, name string, w work) (heap float64, few, full answer, err error) {
	s, err := newSide(name, w)
	if err != nil {
		return 0, few, full, err
	}
	defer s.stop()
	for _, rest := range []*answer{&few, &full} {
		if _, err = s.round(); err != nil { // opens connections
			return 0, few, full, err
		}
		if *rest, err = s.rest(o); err != nil {
			return 0, few, full, err
		}
	}
	report, err := s.round()
	if err == nil && o.profiles != "" {
		_, err = s.server.ask(request{Do: "heap", Path: o.profileOf(r, s)})
	}
	if err != nil {
		return 0, few, full, err
	}
	return report.PerConn.Heap, few, full, nil
}

// rest has the server come to rest.
func (s *side) rest(o options) (answer, error) {
	if o.short {
		return s.server.ask(request{Do: "collect"})
	}
	time.Sleep(settleTime)
	return s.server.ask(request{Do: "collect"})
}

// burstKeep is the part of what a burst needed that a server may keep.
const burstKeep = 1.1

// measureBurst has all connections send one long message at once, and compares the memory after it
// with that before.
func measureBurst(r *row, o options) ([]line, error) {
	var of [][]float64
	var note string
	for i, name := range r.names() {
		last, err := burstOf(name, r, o)
		if err != nil {
			return nil, err
		}
		held, busy, settled := last.heap("held"), last.heap("burst"), last.heap("settled")
		of = append(of, []float64{float64(settled) / float64(held)})
		if i == 0 {
			note = fmt.Sprintf("%.1f MiB before, %.1f MiB at once, %.1f MiB after %.1f s",
				mebi(held), mebi(busy), mebi(settled), settleTime.Seconds())
		}
	}
	return r.lines(of, note), nil
}

// burstOf returns the report after the burst.
func burstOf(name string, r *row, o options) (last *report, err error) {
	s, err := newSide(name, o.of(r))
	if err != nil {
		return nil, err
	}
	defer s.stop()
	for range 5 { // none, all of them, the measure of these, the burst, and what is left of it
		if last, err = s.round(); err != nil {
			return nil, err
		}
		if _, err = s.rest(o); err != nil {
			return nil, err
		}
	}
	return last, nil
}

func mebi(n int64) float64 { return float64(n) / (1 << 20) }
