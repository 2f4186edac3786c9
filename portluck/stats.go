package portluck

import "sync/atomic"

// Stats holds the counters of a [Server]. They count from the start of serving unless noted.
type Stats struct {
	Accepted uint64 // connections accepted
	Open     int    // connections open now
	// Sniffing counts the connections that are undecided now, or whose first message is incomplete.
	Sniffing int
	Clients  int    // clients of the hub now
	Refused  uint64 // closed for MaxConns or MaxConnsPerIP
	Shed     uint64 // closed for MaxSniffing
	Silent   uint64 // announced as raw clients after SniffTimeout without a byte
	// Stalled counts clients that stopped before their protocol, ClientHello or request head was
	// complete.
	Stalled       uint64
	ProxyTimeouts uint64 // PROXY headers that were incomplete at ProxyTimeout
	// Failed counts connections and requests that did not become clients; see OnError.
	Failed       uint64
	AcceptErrors uint64            // failures to accept
	Panics       uint64            // panics in the program's code, logged or not
	Partial      int64             // bytes that unfinished messages hold now
	Overloads    uint64            // clients ended for MaxPartial
	Routes       map[string]uint64 // connections by route
}

type counters struct {
	accepted, refused, shed, silent, stalled, proxyTimeouts, acceptErrors atomic.Uint64
}

// Stats returns the counters. Any goroutine may call it at any time; before the first Serve all
// counters are zero.
func (s *Server) Stats() Stats {
	if !s.serving.Load() {
		return Stats{} // start would freeze the configuration
	}
	p, err := s.start()
	if err != nil {
		return Stats{}
	}
	c := &p.stats
	st := Stats{
		Accepted: c.accepted.Load(), Refused: c.refused.Load(), Shed: c.shed.Load(), Silent: c.silent.Load(),
		Stalled: c.stalled.Load(), ProxyTimeouts: c.proxyTimeouts.Load(), Failed: p.log.failures.Load(), AcceptErrors: c.acceptErrors.Load(),
		Open: p.limits.open(), Sniffing: p.sniff.len() + p.readers.len() + int(p.unknown.Load()), Clients: p.hubs.len(),
		Panics: p.log.panics.Load(), Partial: p.budget.Held(), Overloads: p.budget.Refused(),
		Routes: map[string]uint64{},
	}
	for _, r := range p.routes {
		st.Routes[r.name] += r.count.Load()
	}
	return st
}
