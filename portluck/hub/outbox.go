package hub

import (
	"sync"

	"github.com/portluck/portluck/handlers"
)

// How much waits for a backplane before those who publish wait too.
const (
	maxLetters     = 16 << 10
	maxLetterBytes = 4 << 20
)

// letter is a message on its way to the backplane.
type letter struct {
	room    string
	message handlers.Message
}

// outbox has what was published on a hub until its backplane has got it, in the order in which it
// was published.
type outbox struct {
	mu      sync.Mutex
	letters []letter
	bytes   int
	posting bool      // a goroutine gives them to the backplane: one at a time
	fewer   sync.Cond // of mu, once somebody waits
}

// put adds a letter. The caller then calls post, without a lock.
func (o *outbox) put(l letter) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.letters = append(o.letters, l)
	o.bytes += len(l.message.Data)
}

func (o *outbox) isFull() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.fullLocked()
}

func (o *outbox) fullLocked() bool { return len(o.letters) >= maxLetters || o.bytes >= maxLetterBytes }

// begin makes the caller the one that posts, if there is none: n letters are there.
func (o *outbox) begin() (n int, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.posting || len(o.letters) == 0 {
		return 0, false
	}
	o.posting = true
	return len(o.letters), true
}

// take returns the next letter; there is one.
func (o *outbox) take() letter {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.letters[0]
	o.letters[0] = letter{}
	o.letters = o.letters[1:]
	o.bytes -= len(l.message.Data)
	o.fewer.Broadcast()
	return l
}

// more reports whether there are letters. If not, the caller is no more the one that posts.
func (o *outbox) more() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.letters) > 0 {
		return true
	}
	o.letters, o.posting = nil, false
	o.fewer.Broadcast()
	return false
}

// wait waits while too much is there.
func (o *outbox) wait() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fewer.L = &o.mu
	for o.posting && o.fullLocked() {
		o.fewer.Wait()
	}
}

// post sees to it that what is in the outbox goes to the backplane. This goroutine posts what is
// there if no other one does; what comes meanwhile is left to a new one, as whoever publishes also
// has other things to do.
func (h *Hub) post(wait bool) {
	n, ok := h.outbox.begin()
	if ok && h.postSome(n) {
		go func() { // ends when the outbox is empty
			for h.postSome(1) {
			}
		}()
	}
	if wait {
		h.outbox.wait()
	}
}

// postSome posts n letters. It reports whether this goroutine is to post more.
func (h *Hub) postSome(n int) (more bool) {
	for range n {
		l := h.outbox.take()
		var err error
		panicked := handlers.Guard(func() { err = (*h.backplane.Load()).Publish(l.room, l.message) })
		h.panicked(panicked)
		if err != nil || panicked != nil {
			h.gap("", 1)
		}
	}
	return h.outbox.more()
}
