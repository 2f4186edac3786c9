package main

import (
	"fmt"
	"time"
)

// How many connections the memory is measured between. With TLS there are fewer, because the handshakes take long; with
// the same cost for each it makes no difference.
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
	for i, name := range append([]string{"portluck"}, r.peers()...) {
		many := manyConns
		switch {
		case isSecure(r.q.Proto) && i == 0:
			many = manySecure
		case isSecure(r.q.Proto):
			many = manyOfAPeer
		}
		few, full, err := slope(r, o, name, many)
		if err != nil {
			return nil, err
		}
		each := func(few, full int64) float64 { return float64(full-few) / float64(many-fewConns) }
		of = append(of, []float64{each(few.Pss, full.Pss)})
		if i == 0 {
			idle = full.Goroutines < fewConns
			note = fmt.Sprintf("heap %.0f B, stacks %.0f B, %d goroutines at %d connections",
				each(few.Heap, full.Heap), each(few.Stacks, full.Stacks), full.Goroutines, many)
		}
	}
	lines := r.lines(of, note)
	for i := range lines {
		lines[i].Reached = lines[i].Reached && idle // no goroutine is a part of the aim
	}
	return lines, nil
}

// slope is the memory of a server with few connections and with many.
func slope(r *row, o options, name string, many int) (few, full Memory, err error) {
	q := r.q
	q.Conns = fewConns
	s, err := newSide(name, q)
	if err != nil {
		return few, full, err
	}
	defer s.stop()
	if few, err = s.rest(); err != nil {
		return few, full, err
	}
	q.Do, q.Conns = "open", many-fewConns
	if err = s.ask(q); err == nil {
		full, err = s.rest()
	}
	if err == nil && o.profiles != "" {
		_, err = s.server.ask(request{Do: "heap", Path: o.profileOf(r, s)})
	}
	return few, full, err
}

// rest is the memory of the server when it has come to rest.
func (s *side) rest() (Memory, error) {
	time.Sleep(settleTime)
	a, err := s.server.ask(request{Do: "memory"})
	return a.Memory, err
}

// How long a server may take to give back what a burst needed, and the part of it that it may keep.
const (
	burstTime = time.Minute
	burstKeep = 1.1
)

// measureBurst has all connections send one long message at once, and waits until the memory is what it was before.
func measureBurst(r *row, _ options) ([]line, error) {
	q := r.q
	q.Do, q.Size = "open", 64
	s, err := newSide("portluck", q)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	before, err := s.rest()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := s.ask(r.q); err != nil {
		return nil, err
	}
	busy, err := s.server.ask(request{Do: "memory"})
	if err != nil {
		return nil, err
	}
	after := busy.Memory
	for float64(after.Pss) > burstKeep*float64(before.Pss) && time.Since(begin) < burstTime {
		if after, err = s.rest(); err != nil {
			return nil, err
		}
	}
	note := fmt.Sprintf("%.1f MiB before, %.1f MiB at once, %.1f MiB after %.0f s",
		mebi(before.Pss), mebi(busy.Pss), mebi(after.Pss), time.Since(begin).Seconds())
	return r.lines([][]float64{{float64(after.Pss) / float64(before.Pss)}}, note), nil
}

func mebi(n int64) float64 { return float64(n) / (1 << 20) }
