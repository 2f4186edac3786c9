package main

import (
	"fmt"
	"time"
)

// measureBeside compares the latency of the work of r while the other work is done to the same
// server.
func measureBeside(r *row, o options) ([]line, error) {
	w, beside := o.of(r.work), o.of(r.beside)
	w.time, beside.time = o.roundTime(), o.roundTime()
	sides, err := startAll(r, func(name string) (*side, error) { return newPair(name, w, beside) })
	if err != nil {
		return nil, err
	}
	defer stopAll(sides)
	for _, s := range sides {
		if _, _, err := s.both(); err != nil { // the first one warms up
			return nil, err
		}
	}
	f, note, err := o.inTurn(sides, func(s *side) (map[string]float64, string, error) {
		one, other, err := s.both()
		if err != nil {
			return nil, "", err
		}
		note := fmt.Sprintf("p50 %.2g ms, %.0f/s beside %.0f/s", one.Latency.P50*1e3, one.ops()/one.Seconds, other.ops()/other.Seconds)
		return map[string]float64{"": one.Latency.P99 * 1e3}, note, nil
	})
	if err != nil {
		return nil, err
	}
	return r.lines(f, note), nil
}

// measureBlocking measures the time until every client whose callback sleeps has its echo, and the
// latency of other clients meanwhile. Each round has new servers: one that has seen a client block
// may handle it better the second time.
func measureBlocking(r *row, o options) ([]line, error) {
	f := figures{}
	var note string
	for round := range min(o.rounds(), leastRounds) {
		names := r.names()
		for i := range names {
			i = (i + round) % len(names)
			round, n, err := blockingOf(names[i], o.of(r.work), o.of(r.beside))
			if err != nil {
				return nil, err
			}
			f.add(i, round)
			if i == 0 {
				note = n
			}
		}
	}
	return r.lines(f, note), nil
}

func blockingOf(name string, w, beside work) (_ map[string]float64, note string, err error) {
	s, err := newPair(name, w, beside)
	if err != nil {
		return nil, "", err
	}
	defer s.stop()
	blocked, bystander, err := s.both()
	if err != nil {
		return nil, "", err
	}
	note = fmt.Sprintf("p50 %.2g s; bystander p50 %.2g ms, max %.2g ms",
		blocked.Latency.P50, bystander.Latency.P50*1e3, bystander.Latency.Max*1e3)
	return map[string]float64{
		"": blocked.Seconds, "bystander p99": bystander.Latency.P99 * 1e3, "threads": float64(blocked.Server.Threads),
	}, note, nil
}

// measureFlood compares the latency of echoes while a room of the same server is flooded with that
// while it is quiet.
func measureFlood(r *row, o options) ([]line, error) {
	echo, flood := o.of(r.work), o.of(r.beside)
	echo.time, flood.time = o.roundTime()/2, o.roundTime()
	flood.conns = o.part(o.members)
	f := figures{}
	var note string
	for i, name := range r.names() { // one after the other: a room is large
		s, err := newPair(name, echo, flood)
		if err != nil {
			return nil, err
		}
		n, err := floodOf(s, o, func(factor float64) { f.add(i, map[string]float64{"": factor}) })
		s.stop()
		if err != nil {
			return nil, err
		}
		if i == 0 {
			note = n
		}
	}
	return r.lines(f, note), nil
}

// floodOf calls tell in each round with the factor by which the flood raises the p99 of an echo.
func floodOf(s *side, o options, tell func(factor float64)) (note string, err error) {
	if _, err := s.beside.round(); err != nil { // the first one warms up
		return "", fmt.Errorf("%s: %w", s.name, err)
	}
	for range o.rounds() {
		quiet, err := s.round()
		if err != nil {
			return "", err
		}
		loud, _, err := s.both()
		if err != nil {
			return "", err
		}
		tell(loud.Latency.P99 / quiet.Latency.P99)
		note = fmt.Sprintf("%d members; p50 %.2g ms, p99 %.2g ms; quiet %.2g and %.2g ms", o.part(o.members),
			loud.Latency.P50*1e3, loud.Latency.P99*1e3, quiet.Latency.P50*1e3, quiet.Latency.P99*1e3)
	}
	return note, nil
}

// roundFrom runs a round. If rest is set, the server first comes to rest.
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
	f := figures{}
	var note string
	for i, name := range r.names() {
		n, err := stuckOf(name, r, o, func(factor float64) { f.add(i, map[string]float64{"": factor}) })
		if err != nil {
			return nil, err
		}
		if i == 0 {
			note = n
		}
	}
	return r.lines(f, note), nil
}

// stuckOf calls tell in each round with the factor by which members that never read raise the p99.
func stuckOf(name string, r *row, o options, tell func(factor float64)) (note string, err error) {
	with := o.of(r.work)
	with.time = o.roundTime()
	without := with
	without.stuck = 0
	var sides []*side
	defer func() { stopAll(sides) }()
	for _, w := range []work{with, without} {
		s, err := newSide(name, w)
		if err != nil {
			return "", err
		}
		sides = append(sides, s)
	}
	var last [2]*report
	for round := range 1 + o.rounds() {
		for i, s := range sides {
			a, err := s.roundFrom(o, round == o.rounds())
			if err != nil {
				return "", err
			}
			last[i] = a
		}
		if round > 0 { // the first one warms up
			tell(last[0].Latency.P99 / last[1].Latency.P99)
		}
	}
	return fmt.Sprintf("p99 %.2g ms, alone %.2g ms; %.0f B for each stuck member", last[0].Latency.P99*1e3, last[1].Latency.P99*1e3,
		float64(last[0].Server.HeapBefore-last[1].Server.HeapBefore)/float64(with.stuck)), nil
}

// settleTime is how long a server has to come to rest.
const settleTime = 1500 * time.Millisecond

// settle waits until the server has come to rest.
func (o options) settle() {
	if !o.short {
		time.Sleep(settleTime)
	}
}

// rest waits until the server has come to rest, and has it collect garbage.
func (s *side) rest(o options) (answer, error) {
	o.settle()
	return s.server.ask(request{Do: "collect"})
}
