package main

import (
	"fmt"
)

// measureFlood compares the latency of echoes while a room of the same server is flooded with that while it is quiet.
func measureFlood(r *row, o options) ([]line, error) {
	var of [][]float64
	var note string
	for i, name := range append([]string{"portluck"}, r.peers()...) {
		times, n, err := floodOf(name, r.q, o)
		if err != nil {
			return nil, err
		}
		of = append(of, times)
		if i == 0 {
			note = n
		}
	}
	return r.lines(of, note), nil
}

// floodClients is how many clients echo beside the room.
const floodClients = 4

// floodOf is, for each round, by what factor the flood that q is makes the p99 of an echo longer.
func floodOf(name string, q request, o options) (factors []float64, note string, err error) {
	echo := request{Do: "echo", Proto: q.Proto, Conns: floodClients, Size: 64, Depth: 1, Time: o.roundTime() / 2}
	s, err := newSide(name, echo)
	if err != nil {
		return nil, "", err
	}
	defer s.stop()
	room := &side{name: name, addr: s.addr}
	if room.load, err = start("load"); err != nil {
		return nil, "", err
	}
	defer room.load.stop()
	open := q
	open.Do = "open"
	if err := room.ask(open); err != nil {
		return nil, "", err
	}
	q.Time = o.roundTime()
	for range rounds {
		quiet, err := s.work(echo)
		if err != nil {
			return nil, "", err
		}
		failed := make(chan error, 1)
		go func() { // ends with the flood, which is waited for
			failed <- room.ask(q)
		}()
		loud, err := s.work(echo)
		if e := <-failed; err == nil {
			err = e
		}
		if err != nil {
			return nil, "", err
		}
		factors = append(factors, loud.P99/quiet.P99)
		note = fmt.Sprintf("p50 %.2g ms, p99 %.2g ms; quiet %.2g and %.2g ms",
			loud.P50*1e3, loud.P99*1e3, quiet.P50*1e3, quiet.P99*1e3)
	}
	return factors, note, nil
}

// measureStuck compares the latency of a room's deliveries with and without members that never read. A delivery that
// is lost fails.
func measureStuck(r *row, o options) ([]line, error) {
	alone := r.q
	alone.Stuck = 0
	var sides []*side
	defer func() {
		for _, s := range sides {
			s.stop()
		}
	}()
	for _, q := range []request{r.q, alone} {
		s, err := newSide("portluck", q)
		if err != nil {
			return nil, err
		}
		sides = append(sides, s)
	}
	q := r.q
	q.Time = o.roundTime()
	var factors []float64
	var p99 [2]float64
	for range rounds {
		for i, s := range sides {
			a, err := s.work(q)
			if err != nil {
				return nil, err
			}
			p99[i] = a.P99
		}
		factors = append(factors, p99[0]/p99[1])
	}
	with, err := sides[0].rest()
	if err != nil {
		return nil, err
	}
	without, err := sides[1].rest()
	if err != nil {
		return nil, err
	}
	note := fmt.Sprintf("p99 %.2g ms, alone %.2g ms; %.0f B for each stuck member",
		p99[0]*1e3, p99[1]*1e3, float64(with.Pss-without.Pss)/float64(q.Stuck))
	return r.lines([][]float64{factors}, note), nil
}
