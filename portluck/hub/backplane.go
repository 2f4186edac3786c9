package hub

import (
	"errors"

	"github.com/portluck/portluck/handlers"
)

var errCarried = errors.New("portluck: the hub has a backplane already")

// Carry connects the rooms with those of the same name of the other hubs on b: what is published in
// one is published in all, unless it is [RoomOptions.Local]. What comes from elsewhere goes to the
// members here, and no further. It is called once; the caller closes b.
//
// Who is on b may publish in every room that is not Local: RoomOptions is asked for names that
// others choose, and should give History to those only that it knows.
//
// The other hubs get what is published here in one order, which for each room is the order here.
// One goroutine at a time, of those that publish, calls b.Publish; the others leave their messages
// to it and go on. When 16,384 messages or 4 MiB wait for a slow b, Publish and Broadcast wait
// until there are fewer, and TryPublish fails. b.Publish must not call them.
//
// A message that is lost on the way is told to OnGap. Positions are each hub's own: a client that
// resumes at another server gets that room's history.
func (h *Hub) Carry(b handlers.Backplane) error {
	if handlers.IsNil(b) {
		return errors.New("portluck: Carry: the backplane is nil")
	}
	if !h.backplane.CompareAndSwap(nil, &b) {
		return errCarried
	}
	return b.Subscribe(handlers.Subscriber{
		Deliver: func(d handlers.Delivery) {
			r := h.Room(d.Room)
			if r.opts.Local {
				return
			}
			if _, err := r.publish(d.Message, publishing{}); err != nil {
				h.gap(d.Origin, 1)
			}
		},
		Gap: func(origin string, missed, _ uint64) { h.gap(origin, missed) },
	})
}

func (h *Hub) gap(origin string, missed uint64) {
	if h.OnGap != nil {
		h.panicked(handlers.Guard(func() { h.OnGap(origin, missed) }))
	}
}
