package udp

import "sync/atomic"

// Stats are counters of a [Server] since it began, except where a field says otherwise. They do not
// include datagrams that the system drops because they come faster than they are read, or have no
// route.
type Stats struct {
	Clients   int    // now
	Validated int    // validated clients, now
	Received  uint64 // datagrams
	Sent      uint64 // datagrams that the system has taken
	BytesIn   uint64 // bytes in Received, without headers
	BytesOut  uint64 // bytes in Sent, without headers

	TooLong uint64 // received but dropped: longer than MessageLimit
	// Refused datagrams were received but dropped: the table was full, or the source is not answered.
	Refused     uint64
	Overflowed  uint64 // received but dropped: too many were waiting for callbacks
	Evicted     uint64 // clients that were disconnected to make room for others
	Unvalidated uint64 // not sent: beyond three times what came, or beyond UnvalidatedRate
	Muted       uint64 // not sent: room traffic to clients that get none
	// Dropped datagrams were not sent: the queue was full, or the socket accepted nothing for
	// WriteTimeout.
	Dropped    uint64
	SendErrors uint64 // not sent: the system returned an error
	ReadErrors uint64 // errors of reading that the system returned
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
