package hub

import "time"

// Policy says what becomes of a member of a room that reads too slowly: what it has not got yet is
// no longer kept.
type Policy int

const (
	// Disconnect ends the client: its OnDisconnect gets [handlers.ErrSlow]. It is told so, behind
	// what it has not read, and a WebSocket client gets close 1013; if it still does not read it is
	// closed after 5 seconds.
	Disconnect Policy = iota
	// SkipToLatest goes on with the newest message.
	SkipToLatest
	// DropOldest goes on with the oldest message that is kept.
	DropOldest
	// Backpressure has [Room.Publish] wait until every member has got the oldest message.
	Backpressure
)

// RoomOptions are how a room treats its members. The zero value is ready.
type RoomOptions struct {
	// Ring is how many messages a member may be behind; 256 if zero or negative.
	Ring int
	// RingBytes is how many bytes; 1 MiB if zero or negative. One message is always kept.
	RingBytes int
	// History is how many of the last messages a client gets when it joins, and that [Room.Since]
	// has, as far as Ring and RingBytes allow; none if zero or negative. A room with history is
	// kept when its last member leaves, one without is forgotten.
	History int
	// Policy is for the members that are further behind.
	Policy Policy
	// MaxLatency bounds how old the first message may be that a member has not got, whatever the
	// Ring; no bound if zero or negative. With Backpressure it has no meaning.
	MaxLatency time.Duration
	// OnSlow is told of every member to which Policy was applied, and how many messages it has
	// missed. It may be called by many goroutines at once.
	OnSlow func(r *Room, c *Client, missed uint64)
	// Local keeps what is published on this server, where [Hub.Carry] connects the rooms of
	// several.
	Local bool
}

func (o *RoomOptions) ring() int {
	if o.Ring <= 0 {
		return 256
	}
	return o.Ring
}

func (o *RoomOptions) ringBytes() int {
	if o.RingBytes <= 0 {
		return 1 << 20
	}
	return o.RingBytes
}

func (o *RoomOptions) history() uint64 { return uint64(min(max(o.History, 0), o.ring())) }

// maxLatency is 0 if there is no bound.
func (o *RoomOptions) maxLatency() time.Duration {
	if o.Policy == Backpressure {
		return 0
	}
	return o.MaxLatency
}

// RoomStats counts what has happened in a room since it began.
type RoomStats struct {
	Published uint64 // messages
	Delivered uint64 // messages, for each member that has taken one
	Missed    uint64 // messages, for each member that will not get one
	Slow      uint64 // how often the policy was applied
}
