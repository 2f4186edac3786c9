package hub

import (
	"time"

	"github.com/portluck/portluck/handlers"
)

// Policy says what happens to a member that reads so slowly that the room cannot keep all messages
// that the member has yet to get.
type Policy int

const (
	// Disconnect ends the client: its OnDisconnect gets [handlers.ErrSlow]. A farewell follows what
	// the client has yet to read, for WebSocket close 1013. If the client still does not read, it
	// is closed after 5 seconds.
	Disconnect Policy = iota
	// SkipToLatest continues with the newest message.
	SkipToLatest
	// DropOldest continues with the oldest message that the room keeps.
	DropOldest
	// Backpressure makes [Room.Publish] wait until every member has got the oldest message.
	Backpressure
	// ByKey keeps only the newest message of each key ([RoomOptions] has KeyOf): a member that is
	// behind gets that, and has missed nothing. If there are more keys than the room keeps messages,
	// such a member loses the oldest, as with [DropOldest].
	ByKey
)

// RoomOptions are the bounds of a room, and what it does with members that exceed them. The zero
// value is ready.
type RoomOptions struct {
	// Ring is the number of messages that a member may be behind; 256 if zero or negative.
	Ring int
	// RingBytes is the number of bytes that a member may be behind; 1 MiB if zero or negative. The
	// room keeps at least one message, however long.
	RingBytes int
	// History is the number of last messages that a client gets when it joins, and that
	// [Room.Since] returns, as far as Ring and RingBytes allow; none if zero or negative. The hub
	// keeps a room with history when its last member leaves, and forgets one without.
	History int
	// HistoryAge bounds the age of the messages that a client gets when it joins or resumes, and
	// that [Room.Since] returns; no bound if zero or negative. The room drops older ones, unless a
	// member has yet to get them. The hub forgets a room that has neither messages nor members.
	HistoryAge time.Duration
	// Policy applies to members that are further behind; [Disconnect] if zero.
	Policy Policy
	// KeyOf returns the key of a message, for ByKey; without a key, which is "", a message is kept
	// like any other. Any goroutine may call it. With ByKey, Ring and History count messages that
	// are the newest of their key, so History for all keys gives a client that joins the state of
	// each. A message replaces the one before of its key if it goes to all who would get that: one
	// with To replaces none, one with Except only one with the same Except.
	KeyOf func(m handlers.Message) string
	// MaxLatency bounds the age of the first message that a member has yet to get, whatever Ring
	// allows; no bound if zero or negative. With Backpressure and ByKey it has no effect.
	MaxLatency time.Duration
	// OnSlow, if not nil, is called after Policy was applied to c; missed is the number of messages
	// that c will not get, with ByKey at most. Many goroutines may call it at once.
	OnSlow func(r *Room, c *Client, missed uint64)
	// Presence records since when each member is in the room, for [Room.Presence], and lets clients
	// ask for who comes and goes ([WatchPresence]). It costs memory for each member.
	Presence bool
	// OnPresence, if not nil, sets Presence and is called when somebody has come or gone: a user
	// comes with the first of its clients, whose Member this is, and goes with the last; a client
	// without a user is somebody of its own. One goroutine at a time calls it for a room. What
	// happens meanwhile comes in the next call. After the hub's last server has ended there is none.
	OnPresence func(r *Room, joined, left []Member)
	// PresenceGrace is how long who has left may stay away before OnPresence is told; 1 second if
	// zero, no time if negative. Nothing is told of who comes back sooner.
	PresenceGrace time.Duration
	// Local excludes the room from [Hub.Carry]: what is published in it stays on this server.
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

// ages reports whether the history ends by age.
func (o *RoomOptions) ages() bool { return o.HistoryAge > 0 && o.history() > 0 }

func (o *RoomOptions) presence() bool { return o.Presence || o.OnPresence != nil }

func (o *RoomOptions) presenceGrace() time.Duration {
	if o.PresenceGrace == 0 {
		return time.Second
	}
	return max(o.PresenceGrace, 0)
}

// maxLatency returns the effective MaxLatency; no bound if zero or negative.
func (o *RoomOptions) maxLatency() time.Duration {
	if o.Policy == Backpressure || o.Policy == ByKey {
		return 0
	}
	return o.MaxLatency
}

// RoomStats are counters of a room since the hub began to know it.
type RoomStats struct {
	Published uint64 // messages
	Delivered uint64 // deliveries: each message counts once for each member it reached
	Missed    uint64 // as Delivered, of the members that a message will not reach
	Slow      uint64 // applications of the policy
}
