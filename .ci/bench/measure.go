package main

import (
	"fmt"
	"path/filepath"
	"time"
)

// rounds is how often each server of a row works.
const rounds = 5

// leastRounds is how many there are of a work that cannot be cut short, after slowTime.
const (
	leastRounds = 3
	slowTime    = 15 * time.Second
)

// warmTime is how long a server works before.
const warmTime = 300 * time.Millisecond

// A side is one server with its load.
type side struct {
	name         string
	server, load *child
	addr         string
}

// newSide starts a server and a load, and opens what q says unless q makes its connections itself.
func newSide(name string, q request) (*side, error) {
	s := &side{name: name}
	err := s.start(q)
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

func (s *side) start(q request) (err error) {
	if s.server, err = start("server", s.name, q.Proto); err != nil {
		return err
	}
	if s.load, err = start("load"); err != nil {
		return err
	}
	a, err := s.server.ask(request{Do: "addr", Buffer: q.Buffer})
	if err != nil {
		return err
	}
	s.addr = a.Addr
	if q.Do == "short" {
		return nil
	}
	q.Do = "open"
	return s.ask(q)
}

// ask has the load do q, where the answer is no more than that it did.
func (s *side) ask(q request) error {
	_, err := s.work(q)
	return err
}

// work has the load do q.
func (s *side) work(q request) (answer, error) {
	q.Addr = s.addr
	a, err := s.load.ask(q)
	if err != nil {
		err = fmt.Errorf("%s: %w", s.name, err)
	}
	return a, err
}

func (s *side) stop() {
	s.load.stop()
	s.server.stop()
}

// profile begins a profile of the server's CPU time, if one is wanted, or ends it.
func (s *side) profile(r *row, o options, begin bool) error {
	if o.profiles == "" {
		return nil
	}
	q := request{Do: "profile"}
	if begin {
		q.Path = o.profileOf(r, s)
	}
	_, err := s.server.ask(q)
	return err
}

// profileOf is the name of a profile's file.
func (o options) profileOf(r *row, s *side) string {
	return filepath.Join(o.profiles, r.name+"-"+s.name+".prof")
}

// perOp is the CPU time of the server for each operation of q, in microseconds, and what else is worth knowing.
func (s *side) perOp(q request) (us float64, note string, err error) {
	before, err := s.server.ask(request{Do: "cpu"})
	if err != nil {
		return 0, "", err
	}
	begin := time.Now()
	a, err := s.work(q)
	if err != nil {
		return 0, "", err
	}
	seconds := time.Since(begin).Seconds()
	after, err := s.server.ask(request{Do: "cpu"})
	if err == nil && a.Ops == 0 {
		err = fmt.Errorf("%s: nothing was done", s.name)
	}
	n, used := float64(a.Ops), after.CPU-before.CPU
	note = fmt.Sprintf("%.0f/s, %.0f%% of it in the kernel, %.2g waits each, %d goroutines",
		n/seconds, (after.System-before.System)/used*100, float64(after.Switches-before.Switches)/n, after.Goroutines)
	return used / n * 1e6, note, err
}

// measureCPU has portluck and its peers do the same in turn.
func measureCPU(r *row, o options) ([]line, error) {
	var sides []*side
	defer func() {
		for _, s := range sides {
			s.stop()
		}
	}()
	for _, name := range append([]string{"portluck"}, r.peers()...) {
		s, err := newSide(name, r.q)
		if err != nil {
			return nil, err
		}
		sides = append(sides, s)
		q := r.q
		q.Time = warmTime
		if err := s.ask(q); err != nil {
			return nil, err
		}
		if err := s.profile(r, o, true); err != nil {
			return nil, err
		}
	}
	of := make([][]float64, len(sides))
	q := r.q
	q.Time = o.roundTime()
	var note string
	begin := time.Now()
	for round := range rounds {
		if round >= leastRounds && time.Since(begin) > slowTime {
			break
		}
		for i := range sides {
			i = (i + round) % len(sides) // another one begins each round
			us, n, err := sides[i].perOp(q)
			if err != nil {
				return nil, err
			}
			of[i] = append(of[i], us)
			if i == 0 {
				note = n
			}
		}
	}
	for _, s := range sides {
		if err := s.profile(r, o, false); err != nil {
			return nil, err
		}
	}
	return r.lines(of, note), nil
}
