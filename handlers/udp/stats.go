package udp

import "sync/atomic"

// Stats are counters of a [Server] since it began, unless said otherwise. What the system drops,
// because it comes faster than it is read, or finds no way out, is not in them.
type Stats struct {
	Clients   int    // now
	Validated int    // clients that are validated, now
	Received  uint64 // datagrams
	Sent      uint64 // datagrams that the system has taken
	BytesIn   uint64 // of Received, without headers
	BytesOut  uint64 // of Sent, without headers

	TooLong     uint64 // received and dropped: longer than MessageLimit
	Refused     uint64 // received and dropped: the table was full, or the source is none to be answered
	Overflowed  uint64 // received and dropped: too many were waiting for callbacks
	Evicted     uint64 // clients that made room for others
	Unvalidated uint64 // not sent: more than three times what came, or than UnvalidatedRate
	Muted       uint64 // not sent: room traffic to clients that get none
	Dropped     uint64 // not sent: the queue was full, or the socket took nothing for WriteTimeout
	SendErrors  uint64 // not sent: the system said why
	ReadErrors  uint64 // the system said that reading has failed
}

type counters struct {
	received, sent, bytesIn, bytesOut                   atomic.Uint64
	tooLong, refused, overflowed, evicted               atomic.Uint64
	unvalidated, muted, dropped, sendErrors, readErrors atomic.Uint64
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	s.init()
	c := &s.counters
	st := Stats{
		Received: c.received.Load(), Sent: c.sent.Load(), BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(),
		TooLong: c.tooLong.Load(), Refused: c.refused.Load(), Overflowed: c.overflowed.Load(), Evicted: c.evicted.Load(),
		Unvalidated: c.unvalidated.Load(), Muted: c.muted.Load(), Dropped: c.dropped.Load(),
		SendErrors: c.sendErrors.Load(), ReadErrors: c.readErrors.Load(),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Clients, st.Validated = s.table.len(), s.table.lists[validated].n
	return st
}
