package main

import (
	"fmt"
)

// measureFlood compares the latency of echoes while a room of the same server is flooded with that
// while it is quiet.
func measureFlood(r *row, o options) ([]line, error) {
	var of [][]float64
	var note string
	for i, name := range r.names() {
		times, n, err := floodOf(name, r, o)
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

// floodOf is, for each round, by what factor the flood of r makes the p99 of an echo longer.
func floodOf(name string, r *row, o options) (factors []float64, note string, err error) {
	flood := o.of(r)
	flood.time = o.roundTime()
	echo := work{do: "echo", proto: flood.proto, conns: floodClients, size: 64, depth: 1, time: o.roundTime() / 2}
	s, err := newSide(name, echo)
	if err != nil {
		return nil, "", err
	}
	defer s.stop()
	room, err := startLoad(&flood, s.addr, s.server.cmd.Process.Pid)
	if err != nil {
		return nil, "", err
	}
	defer room.stop()
	if _, err := room.round(); err != nil { // the first one warms up
		return nil, "", err
	}
	for range rounds {
		quiet, err := s.round()
		if err != nil {
			return nil, "", err
		}
		failed := make(chan error, 1)
		go func() { // ends with the flood, which is waited for
			_, err := room.round()
			failed <- err
		}()
		loud, err := s.round()
		if e := <-failed; err == nil {
			err = e
		}
		if err != nil {
			return nil, "", err
		}
		factors = append(factors, loud.Latency.P99/quiet.Latency.P99)
		note = fmt.Sprintf("p50 %.2g ms, p99 %.2g ms; quiet %.2g and %.2g ms",
			loud.Latency.P50*1e3, loud.Latency.P99*1e3, quiet.Latency.P50*1e3, quiet.Latency.P99*1e3)
	}
	return factors, note, nil
}

// roundFrom is a round that begins, if rest is set, with what the server needs at rest.
func (s *side) roundFrom(o options, rest bool) (*report, error) {
	if rest {
		if _, err := s.rest(o); err != nil {
			return nil, err
		}
	}
	return s.round()
}

// measureStuck compares the latency of a room's deliveries with and without members that never
// read. A delivery that is lost fails.
func measureStuck(r *row, o options) ([]line, error) {
	var of [][]float64
	var note string
	for i, name := range r.names() {
		factors, n, err := stuckOf(name, r, o)
		if err != nil {
			return nil, err
		}
		of = append(of, factors)
		if i == 0 {
			note = n
		}
	}
	return r.lines(of, note), nil
}

// stuckOf is, for each round, by what factor the members that never read make the p99 longer.
func stuckOf(name string, r *row, o options) (factors []float64, note string, err error) {
	with := o.of(r)
	with.time = o.roundTime()
	without := with
	without.stuck = 0
	var sides []*side
	defer func() {
		for _, s := range sides {
			s.stop()
		}
	}()
	for _, w := range []work{with, without} {
		s, err := newSide(name, w)
		if err != nil {
			return nil, "", err
		}
		sides = append(sides, s)
	}
	var last [2]*report
	for round := range 1 + rounds {
		for i, s := range sides {
			a, err := s.roundFrom(o, round == rounds)
			if err != nil {
				return nil, "", err
			}
			last[i] = a
		}
		factors = append(factors, last[0].Latency.P99/last[1].Latency.P99)
	}
	note = fmt.Sprintf("p99 %.2g ms, alone %.2g ms; %.0f B for each stuck member", last[0].Latency.P99*1e3, last[1].Latency.P99*1e3,
		float64(last[0].Server.HeapBefore-last[1].Server.HeapBefore)/float64(with.stuck))
	return factors[1:], note, nil // the first one warms up
}
