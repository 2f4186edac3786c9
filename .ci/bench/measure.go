package main

import (
	"fmt"
	"path/filepath"
	"time"
)

// After slowTime a row ends with leastRounds rounds: some works take long and cannot be cut short.
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
	beside *load // nil if there is no other
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

// newPair starts a server, and two portloads that wait for their first rounds.
func newPair(name string, w, beside work) (*side, error) {
	s, err := newSide(name, w)
	if err != nil {
		return nil, err
	}
	if s.beside, err = startLoad(&beside, s.addr, s.server.cmd.Process.Pid); err != nil {
		s.stop()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

func (s *side) start(w work) (err error) {
	if w.serve == "" {
		w.serve = w.proto
	}
	if s.server, err = start(s.name, w.serve); err != nil {
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

// round runs the load once.
func (s *side) round() (*report, error) {
	r, err := s.load.round()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return r, nil
}

// both runs both loads once, at the same time.
func (s *side) both() (r, beside *report, err error) {
	done := make(chan error, 1)
	go func() { // ends with the round, which is waited for
		var err error
		beside, err = s.beside.round()
		done <- err
	}()
	r, err = s.round()
	if e := <-done; err == nil && e != nil {
		err = fmt.Errorf("%s: %w", s.name, e)
	}
	return r, beside, err
}

func (s *side) stop() {
	s.beside.stop()
	s.load.stop()
	s.server.stop()
}

// stopAll stops all sides.
func stopAll(sides []*side) {
	for _, s := range sides {
		s.stop()
	}
}

// startAll starts the servers of r, in the order of its names.
func startAll(r *row, start func(name string) (*side, error)) (sides []*side, err error) {
	for _, name := range r.names() {
		s, err := start(name)
		if err != nil {
			stopAll(sides)
			return nil, err
		}
		sides = append(sides, s)
	}
	return sides, nil
}

// inTurn calls measure for each side in each round. Each round begins with another side. The note
// is the one of portluck in the last round.
func (o options) inTurn(sides []*side, measure func(*side) (map[string]float64, string, error)) (f figures, note string, err error) {
	f = figures{}
	begin := time.Now()
	for round := range o.rounds() {
		if round >= leastRounds && time.Since(begin) > slowTime {
			break
		}
		for i := range sides {
			i = (i + round) % len(sides)
			figures, n, err := measure(sides[i])
			if err != nil {
				return nil, "", err
			}
			f.add(i, figures)
			if i == 0 {
				note = n
			}
		}
	}
	return f, note, nil
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

// profileOf returns the file name of a profile.
func (o options) profileOf(r *row, s *side) string {
	return filepath.Join(o.profiles, r.name+"-"+s.name+".prof")
}

// perOp runs the load once. It returns the CPU time of the server for each operation, the
// latencies, and a note.
func (s *side) perOp() (_ map[string]float64, note string, err error) {
	r, err := s.round()
	if err != nil {
		return nil, "", err
	}
	n := r.ops()
	if n == 0 {
		return nil, "", fmt.Errorf("%s: nothing was done", s.name)
	}
	a, err := s.server.ask(request{Do: "goroutines"})
	note = fmt.Sprintf("%.0f/s, %.0f%% of it in the kernel, %.2g waits each, %d goroutines",
		n/r.Seconds, r.Server.System/r.Server.CPU*100, float64(r.Server.Waits)/n, a.Goroutines)
	if r.Unsent > 0 {
		note += fmt.Sprintf(", %d unsent", r.Unsent)
	}
	f := r.latencies()
	f[""] = r.Server.CPU / n * 1e6
	return f, note, err
}

// measureCPU measures portluck and its peers in turn, under the same load.
func measureCPU(r *row, o options) ([]line, error) {
	w := o.of(r.work)
	w.time = o.roundTime()
	return r.compare(o, w, "")
}

// compare measures portluck and its peers in turn, under the load w.
func (r *row) compare(o options, w work, about string) ([]line, error) {
	sides, err := startAll(r, func(name string) (*side, error) { return newSide(name, w) })
	if err != nil {
		return nil, err
	}
	defer stopAll(sides)
	for _, s := range sides {
		if _, err := s.round(); err != nil { // the first one warms up
			return nil, err
		}
		if err := s.profile(r, o, true); err != nil {
			return nil, err
		}
	}
	f, note, err := o.inTurn(sides, (*side).perOp)
	if err != nil {
		return nil, err
	}
	for _, s := range sides {
		if err := s.profile(r, o, false); err != nil {
			return nil, err
		}
	}
	return r.lines(f, about+note), nil
}

// measureRate measures portluck and its peers in turn, at a part of the rate that the first peer
// reaches without a limit.
func measureRate(r *row, o options) ([]line, error) {
	w := o.of(r.work)
	w.time = o.roundTime()
	free := w
	free.depth = 1
	capacity, err := capacityOf(r.names()[1], free)
	if err != nil {
		return nil, err
	}
	w.rate = w.part * capacity
	return r.compare(o, w, fmt.Sprintf("capacity %.0f/s; ", capacity))
}

// capacityOf returns how many operations a second a server does.
func capacityOf(name string, w work) (float64, error) {
	s, err := newSide(name, w)
	if err != nil {
		return 0, err
	}
	defer s.stop()
	var last *report
	for range 2 { // the first one warms up
		if last, err = s.round(); err != nil {
			return 0, err
		}
	}
	return last.ops() / last.Seconds, nil
}
