package hub

import (
	"context"
	"errors"

	"github.com/portluck/portluck/handlers"
)

var errCarried = errors.New("portluck: the hub has a backplane already")

// Carry connects the rooms of h with the rooms of the same names of the other hubs on b: a message
// published in one is published in all, unless the room is [RoomOptions.Local]. A message from
// another hub goes to the members here, and no further. Call Carry once. The caller closes b.
//
// Every hub on b may publish in every room that is not Local. So RoomOptions is also called for
// names that others have chosen: it should give History only to names that the program knows.
//
// The other hubs get the messages of h in one order, which for each room is the order of
// publishing. One publishing goroutine at a time calls b.Publish; the others queue their messages
// and go on. When 16,384 messages or 4 MiB are queued for a slow b, Publish and Broadcast wait
// until fewer are, or the context of PublishContext ends, and TryPublish fails. b.Publish must not
// call any of them.
//
// [PublishOptions] apply only here: a message with To is not carried, and the other hubs learn
// neither the ID nor the Except of a message.
//
// OnGap runs for messages that were lost on the way. Each hub has its own positions: a client that
// resumes at another server gets the history of the room there.
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
			if _, err := r.publish(context.Background(), d.Message, &publishing{}); err != nil {
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
