package main

import "fmt"

// Memory is measured at fewConns and at one of the others. TLS and HTTP have fewer connections,
// because handshakes and requests take long; as each costs the same, the slope does not change.
const (
	fewConns    = 2_000
	manyConns   = 15_000
	manySecure  = 8_000
	manyOfAPeer = 4_000 // that are secure
)

// measureMemory opens connections that then wait, and compares what one more of them costs. Then
// each sends one long message, at once, and the same is measured again.
//
// What has no name is private memory after a collection. "live" is the objects on the heap and the
// stacks, and "PSS" private memory with what the collector keeps in reserve.
func measureMemory(r *row, o options) ([]line, error) {
	f := figures{}
	var note string
	idle := true
	for i, name := range r.names() {
		w := o.of(r.work)
		if isSecure(w.proto) && i > 0 && name != before {
			w.conns = o.part(manyOfAPeer)
		}
		m, err := memoryOf(r, o, name, w)
		if err != nil {
			return nil, err
		}
		f.add(i, m.figures(w))
		if i == 0 {
			idle = m.full.Goroutines < w.from
			note = fmt.Sprintf("%d goroutines at %d connections; stacks %.0f B each",
				m.full.Goroutines, w.conns, float64(m.full.Stacks-m.few.Stacks)/float64(w.conns-w.from))
		}
	}
	lines := r.lines(f, note)
	for i := range lines {
		lines[i].Reached = lines[i].Reached && idle // no goroutine is a part of the aim
	}
	return lines, nil
}

// A memory holds what a server uses: with few connections, with all, and after their burst.
type memory struct {
	few, full, after answer // of the server itself, after a collection
	report           *report
}

// figures returns the cost of one connection.
func (m *memory) figures(w work) map[string]float64 {
	n := float64(w.conns - w.from)
	live := func(a answer) float64 { return float64(a.Live+a.Stacks-m.few.Live-m.few.Stacks) / n }
	private := func(at string) float64 { return float64(m.report.heap(at)-m.report.heap("from")) / n }
	return map[string]float64{
		"":     private("held"),
		"live": live(m.full), "live after a burst": live(m.after),
		"PSS": private("conns"), "PSS after a burst": private("settled"),
	}
}

// memoryOf has portload open the connections. Each of its reports is followed by a pause, at the
// end of which portload notes the private memory of the server.
func memoryOf(r *row, o options, name string, w work) (m memory, err error) {
	s, err := newSide(name, w)
	if err != nil {
		return m, err
	}
	defer s.stop()
	collect := func(into *answer) error {
		a, err := s.rest(o)
		if into != nil {
			*into = a
		}
		return err
	}
	reserve := func() error {
		o.settle()
		return nil
	}
	pauses := []func() error{
		func() error { return collect(&m.few) },  // with few connections: the point from
		reserve,                                  // all are open: the point conns
		func() error { return collect(&m.full) }, // the point held, and then the burst
		reserve,                                  // the point settled
		func() error { return collect(&m.after) },
	}
	for _, pause := range pauses {
		if m.report, err = s.round(); err != nil {
			return m, err
		}
		if err = pause(); err != nil {
			return m, err
		}
	}
	if o.profiles != "" {
		_, err = s.server.ask(request{Do: "heap", Path: o.profileOf(r, s)})
	}
	return m, err
}
