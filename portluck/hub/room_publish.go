package hub

import (
	"context"

	"github.com/portluck/portluck/handlers"
)

// PublishOptions say to whom a message goes. The zero value is a message to all members.
type PublishOptions struct {
	// Except, if not nil, is a client of this hub that does not get the message. Nor does a client of
	// the same user that comes later, and so resumes; another one of the user that is there does.
	Except *Client
	// To, if not nil, chooses the members that get the message, which does not go to other servers.
	// Each member is asked before PublishContext returns, and a client that joins while the room
	// keeps the message when it joins. To must return soon; several goroutines may call it at once.
	// A panic in To counts as false.
	To func(c *Client) bool
	// ID, if not empty, is the message's own: a second message with the same ID is not sent. The
	// room remembers as many IDs as its Ring has messages, of RingBytes in all. Other servers do not
	// know them.
	ID string
}

// Publish sends m to every member, copies m.Data, and returns the position of m. With
// [Backpressure] it waits while a member is too far behind, so a callback of a member must not call
// it. It also waits for a slow backplane, see [Hub.Carry].
func (r *Room) Publish(m handlers.Message) handlers.Position {
	p, _ := r.publish(context.Background(), m, &publishing{wait: true, carry: true})
	return p
}

// TryPublish is Publish without waiting. It returns [handlers.ErrSlow], and publishes nothing,
// where Publish would wait.
func (r *Room) TryPublish(m handlers.Message) (handlers.Position, error) {
	return r.publish(context.Background(), m, &publishing{carry: true})
}

// PublishContext is Publish with options, which may be nil. If ctx ends while it waits, it
// publishes nothing and returns the error of ctx. If there was a message with the same ID, it
// returns the position of that.
func (r *Room) PublishContext(ctx context.Context, m handlers.Message, o *PublishOptions) (handlers.Position, error) {
	how := &publishing{wait: true, carry: true}
	if o != nil {
		how.id, how.to, how.carry = o.ID, o.To, o.To == nil
		how.detail = r.hub.detailOf(o)
	}
	return r.publish(ctx, m, how)
}

// publishing says how to publish.
type publishing struct {
	wait   bool // for members and the backplane
	carry  bool // to the other hubs, over the backplane
	id     string
	to     func(c *Client) bool
	asked  map[*Client]bool // by to
	joins  uint64           // of the room, when all members had been asked
	detail *detail
}

func (r *Room) publish(ctx context.Context, m handlers.Message, how *publishing) (handlers.Position, error) {
	how.carry = how.carry && !r.opts.Local && r.hub.backplane.Load() != nil
	if how.carry {
		if err := r.hub.outbox.ready(ctx, how.wait); err != nil {
			return handlers.Position{}, err
		}
	}
	if r.opts.Policy == ByKey && r.opts.KeyOf != nil {
		how.detail = r.keyed(m, how.detail)
	}
	r, err := r.lockFor(ctx, how)
	if err != nil {
		return handlers.Position{}, err
	}
	if seq := r.ring.ids.add(how.id, r.ring.next, &r.opts); seq != r.ring.next {
		defer r.mu.Unlock()
		return handlers.Position{Epoch: r.ring.epoch, Seq: seq}, nil
	}
	m.Data = r.ring.append(m, how.detail)
	if how.carry {
		r.hub.outbox.put(outgoing{r.name, m}) // under the lock: in the order of the room
	}
	var few [8]*group // spares an allocation on most machines
	at, idle := r.publishedLocked(few[:0])
	failed := r.ring.failed
	r.ring.failed = nil
	r.mu.Unlock()
	if failed != nil {
		r.hub.panicked(failed)
	}
	r.start(idle)
	if how.carry {
		r.hub.post(ctx.Done() != nil)
	}
	return at, nil
}

// lockFor locks the room of r's name once there is room for a message, and every member is asked
// whether it gets it. A message whose ID is known needs none of that.
func (r *Room) lockFor(ctx context.Context, how *publishing) (*Room, error) {
	for {
		if how.to != nil {
			how.ask(r)
		}
		r = r.lockToPublish()
		changed := how.to != nil && how.joins != r.joins
		switch {
		case r.ring.ids.known(how.id):
			return r, nil
		case changed:
		case r.opts.Policy != Backpressure || r.ring.makeRoom(&r.opts, r.lowLocked()):
			return r, nil
		case !how.wait:
			r.mu.Unlock()
			return nil, handlers.ErrSlow
		default:
			if err := r.awaitLocked(ctx); err != nil {
				r.mu.Unlock()
				return nil, err
			}
		}
		r.mu.Unlock()
	}
}

// awaitLocked waits until the room has dropped messages, or ctx ends.
func (r *Room) awaitLocked(ctx context.Context) error {
	if ctx.Err() == nil {
		defer wakeAtEnd(ctx, &r.free)()
		r.free.Wait()
	}
	return ctx.Err()
}
