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

// A side is one server with its load.
type side struct {
	name   string
	server *child
	addr   string
	load   *load
}

// newSide starts a server, and a portload that waits for its first round.
func newSide(name string, w work) (*side, error) {
	s := &side{name: name}
	err := s.start(w)
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

func (s *side) start(w work) (err error) {
	if s.server, err = start(s.name, w.proto); err != nil {
		return err
	}
	a, err := s.server.ask(request{Do: "addr", Keep: w.keep})
	if err != nil {
		return err
	}
	s.addr = a.Addr
	s.load, err = startLoad(&w, s.addr, s.server.cmd.Process.Pid)
	return err
}

// round has the load do its work once.
func (s *side) round() (*report, error) {
	r, err := s.load.round()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return r, nil
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

// perOp is the CPU time of the server for each operation of a round, in microseconds, and what else
// is worth knowing.
func (s *side) perOp() (us float64, note string, err error) {
	r, err := s.round()
	if err != nil {
		return 0, "", err
	}
	n := r.ops()
	if n == 0 {
		return 0, "", fmt.Errorf("%s: nothing was done", s.name)
	}
	a, err := s.server.ask(request{Do: "goroutines"})
	note = fmt.Sprintf("%.0f/s, %.0f%% of it in the kernel, %.2g waits each, %d goroutines",
		n/r.Seconds, r.Server.System/r.Server.CPU*100, float64(r.Server.Waits)/n, a.Goroutines)
	return r.Server.CPU / n * 1e6, note, err
}

// measureCPU has portluck and its peers do the same in turn.
func measureCPU(r *row, o options) ([]line, error) {
	var sides []*side
	defer func() {
		for _, s := range sides {
			s.stop()
		}
	}()
	for _, name := range r.names() {
		w := o.of(r)
		w.time = o.roundTime()
		s, err := newSide(name, w)
		if err != nil {
			return nil, err
		}
		sides = append(sides, s)
		if _, err := s.round(); err != nil { // the first one warms up
			return nil, err
		}
		if err := s.profile(r, o, true); err != nil {
			return nil, err
		}
	}
	of := make([][]float64, len(sides))
	var note string
	begin := time.Now()
	for round := range rounds {
		if round >= leastRounds && time.Since(begin) > slowTime {
			break
		}
		for i := range sides {
			i = (i + round) % len(sides) // another one begins each round
			us, n, err := sides[i].perOp()
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
