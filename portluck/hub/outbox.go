package hub

import (
	"context"
	"sync"

	"github.com/portluck/portluck/handlers"
)

// Once this much waits for the backplane, publishers wait too.
const (
	maxOutgoing      = 16 << 10 // messages
	maxOutgoingBytes = 4 << 20
)

// outgoing is a message for the backplane.
type outgoing struct {
	room    string
	message handlers.Message
}

// outbox queues what is published on a hub for its backplane, in the order of publishing.
type outbox struct {
	mu      sync.Mutex
	queue   []outgoing
	bytes   int       // of the messages in queue
	posting bool      // a goroutine is posting; there is one at a time
	fewer   sync.Cond // signals that the queue is shorter; its L is set by wait
}

// put queues m. The caller then calls post, without holding a lock.
func (o *outbox) put(m outgoing) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue = append(o.queue, m)
	o.bytes += len(m.message.Data)
}

func (o *outbox) fullLocked() bool { return len(o.queue) >= maxOutgoing || o.bytes >= maxOutgoingBytes }

// begin makes the caller the posting goroutine, unless there is one or nothing is queued. n is the
// length of the queue.
func (o *outbox) begin() (n int, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.posting || len(o.queue) == 0 {
		return 0, false
	}
	o.posting = true
	return len(o.queue), true
}

// take removes and returns the first message. The queue must not be empty.
func (o *outbox) take() outgoing {
	o.mu.Lock()
	defer o.mu.Unlock()
	m := o.queue[0]
	o.queue[0] = outgoing{}
	o.queue = o.queue[1:]
	o.bytes -= len(m.message.Data)
	o.fewer.Broadcast()
	return m
}

// more reports whether messages are queued. If not, the caller is no longer the posting goroutine.
func (o *outbox) more() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) > 0 {
		return true
	}
	o.queue, o.posting = nil, false
	o.fewer.Broadcast()
	return false
}

// ready returns nil when the outbox is not full. If it is, ready returns the error of ctx when that
// ends, or at once [handlers.ErrSlow] without wait.
func (o *outbox) ready(ctx context.Context, wait bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.fullLocked() {
		return nil
	}
	if !wait {
		return handlers.ErrSlow
	}
	o.fewer.L = &o.mu
	defer wakeAtEnd(ctx, &o.fewer)()
	for o.posting && o.fullLocked() {
		if err := ctx.Err(); err != nil {
			return err
		}
		o.fewer.Wait()
	}
	return nil
}

// wakeAtEnd wakes who waits for c when ctx ends. The caller calls stop when it waits no more.
func wakeAtEnd(ctx context.Context, c *sync.Cond) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		c.L.Lock() // not before the caller waits
		defer c.L.Unlock()
		c.Broadcast()
	})
}

// post gives the queue to the backplane, unless another goroutine is posting. The caller posts what
// is queued now, unless apart is set. The publisher has other work, so a new goroutine posts what
// comes meanwhile.
func (h *Hub) post(apart bool) {
	n, ok := h.outbox.begin()
	if ok && (apart || h.postSome(n)) {
		h.tasks.Go(func() { // ends when the outbox is empty
			for h.postSome(1) {
			}
		})
	}
}

// postSome posts n messages. It reports whether the caller must post more.
func (h *Hub) postSome(n int) (more bool) {
	for range n {
		m := h.outbox.take()
		var err error
		panicked := handlers.Guard(func() { err = (*h.backplane.Load()).Publish(m.room, m.message) })
		h.panicked(panicked)
		if err != nil || panicked != nil {
			h.gap("", 1)
		}
	}
	return h.outbox.more()
}
