package callosum

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/guarded"
	"github.com/portluck/portluck/handlers/internal/setting"
)

// Protocol is the [handlers.Info.Protocol] of connections that have a slot.
const Protocol = "callosum"

// Preface is what a client may send first on a port shared with other protocols, so that a matcher
// of this prefix recognises it at once. It is not part of the stream. Its first byte never occurs
// in UTF-8 text.
const Preface = "\xc1callosum\r\n"

// A Handler gives each connection a slot. Its zero value is ready to use: it gives the lowest free
// slot, from 0, and holds the connections until their clients leave. A Handler may serve on a port
// ([portluck.Server.Handle], or OnSilence) and on a [Server] at the same time, with one set of
// slots. The fields must not be changed once it serves. A zero duration means the default, a
// negative one no bound.
//
// The callbacks of different connections may run at once. A panic in one closes that connection
// only.
//
// [portluck.Server.Handle]: https://pkg.go.dev/github.com/portluck/portluck/portluck#Server.Handle
type Handler struct {
	// OnSlotRequest assigns a slot to a new connection. If nil, the lowest free slot is assigned.
	// It may wait: ctx ends when the client leaves or SlotTimeout has passed. An error closes the
	// connection and is passed to OnError.
	OnSlotRequest func(ctx context.Context) (slot int, err error)
	// OnSlotFree is called exactly once for each assigned slot, when its connection has ended: the
	// client has sent FIN or a reset, or the server has closed it. The slot is not assigned again
	// before OnSlotFree has returned. OnSlotFree waits until OnConnection has returned or has run for
	// three seconds, so it is never called before OnConnection has begun. OnConnection is not called
	// for a client that left before it got its slot.
	OnSlotFree func(slot int)
	// OnConnection serves a connection after the slot line. ctx ends when the client has ended or
	// the server is shutting down. When OnConnection returns, what it has written is sent and c is
	// closed. If nil, the bytes of the clients are dropped until they leave.
	OnConnection func(ctx context.Context, c *Conn)
	// OnError gets the errors of a connection that occur before or outside OnConnection. If nil,
	// the port's OnError gets them, if there is a port. The port or [Server.Log] logs them too.
	OnError func(info *handlers.Info, err error)

	// MaxSlots bounds the slots that are given out at the same time if OnSlotRequest is nil; no
	// bound if zero or negative. The connection of a further client is closed with [ErrNoSlot].
	MaxSlots int
	// SlotTimeout bounds how long a client waits for its slot line; 10 seconds if zero, no bound if
	// negative.
	SlotTimeout time.Duration
	// Hold is how long the application's first write is held back after the slot line if the client
	// has not sent anything, as upstream's client takes all that its first read returns for the
	// slot line; 100 milliseconds if zero, not at all if negative.
	Hold time.Duration
	// EndTimeout is how long OnConnection may go on after its client has ended or the server has begun
	// to shut down; 30 seconds if zero, no bound if negative. After that the Handler closes the
	// connection.
	EndTimeout time.Duration
	// LingerTimeout is how long the client has to end after OnConnection has returned; 2 seconds if
	// zero, no bound if negative.
	LingerTimeout time.Duration
	// UnreadTimeout is how long 64 KiB of a client's bytes may wait for OnConnection to read them; 2
	// minutes if zero, no bound if negative. After that the Handler closes the connection. It applies
	// where the system does not report that a client has left: inside TLS, and on systems other than
	// Linux.
	UnreadTimeout time.Duration

	slots   Slots
	watcher watcher

	mu    sync.Mutex
	conns map[*Conn]struct{}
	// owners has the ports and servers that h serves; the value is true for those that shut down.
	owners map[any]bool
	given  uint64
	once   sync.Once
}

func (h *Handler) slotTimeout() time.Duration {
	return setting.Or(h.SlotTimeout, 10*time.Second, setting.Never)
}

func (h *Handler) endTimeout() time.Duration {
	return setting.Or(h.EndTimeout, 30*time.Second, setting.Never)
}

func (h *Handler) lingerTimeout() time.Duration {
	return setting.Or(h.LingerTimeout, 2*time.Second, setting.Never)
}

func (h *Handler) unreadTimeout() time.Duration {
	return setting.Or(h.UnreadTimeout, 2*time.Minute, setting.Never)
}

// hold returns how long to hold the first write back; a negative duration if not at all.
func (h *Handler) hold() time.Duration { return cmp.Or(h.Hold, 100*time.Millisecond) }

func (h *Handler) init() { h.slots.Max = h.MaxSlots }

// Conns returns the connections that hold a slot now, in the order of their slots. Any goroutine
// may call it.
func (h *Handler) Conns() []*Conn {
	h.mu.Lock()
	all := make([]*Conn, 0, len(h.conns))
	for c := range h.conns {
		all = append(all, c)
	}
	h.mu.Unlock()
	all = slices.DeleteFunc(all, func(c *Conn) bool { return !c.holds() })
	slices.SortFunc(all, func(a, b *Conn) int { return a.slot - b.slot })
	return all
}

// Given returns how many slots were given out so far. Any goroutine may call it.
func (h *Handler) Given() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.given
}

// Serve is [handlers.Handler.Serve].
func (h *Handler) Serve(c handlers.Conn, p handlers.Port) {
	nc, err := c.NetConn()
	if err != nil {
		c.Close()
		p.Fail(c.Info(), err)
		return
	}
	info := *c.Info()
	info.Protocol = Protocol
	h.follow(p)
	fail := p.Fail
	if h.OnError != nil {
		fail = func(info *handlers.Info, err error) { h.fail(p, info, err) }
	}
	p.Go(func() { // ends with the connection
		defer c.Close()
		h.serve(nc, &info, p, fail)
	})
}

// follow makes h shut down when p does.
func (h *Handler) follow(p handlers.Port) {
	n, ok := p.(handlers.ShutdownNotifier)
	if !ok {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.owners[p]; known {
		return
	}
	h.ownLocked(p)
	p.Go(func() { // ends with the port
		<-n.ShuttingDown()
		h.stop(p)
	})
}

func (h *Handler) ownLocked(owner any) {
	if h.owners == nil {
		h.owners = map[any]bool{}
	}
	h.owners[owner] = false
}

// stop shuts down what h serves for owner.
func (h *Handler) stop(owner any) {
	h.mu.Lock()
	if h.owners == nil {
		h.owners = map[any]bool{}
	}
	h.owners[owner] = true
	var all []*Conn
	for c := range h.conns {
		if c.owner == owner {
			all = append(all, c)
		}
	}
	h.mu.Unlock()
	for _, c := range all {
		c.stop()
	}
}

// serve gives nc a slot, serves it and closes it.
func (h *Handler) serve(nc net.Conn, info *handlers.Info, owner any, fail func(*handlers.Info, error)) {
	h.once.Do(h.init)
	nc = guarded.FromPort(nc)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	c := &Conn{
		info: info, handler: h, owner: owner, cancel: cancel, preface: true,
		gone: make(chan struct{}), spoke: make(chan struct{}), served: make(chan struct{}), fail: fail,
	}
	c.mu.Lock() // held until all fields of c are set
	conn, forget := h.watcher.watch(nc, h.unreadTimeout(), func() { c.wg.Go(c.peerEnded) })
	c.Conn = conn
	h.enter(c)
	c.mu.Unlock()
	defer func() {
		c.setServed()
		c.Close()
		// Even if c is closed elsewhere, the Wait below then waits for OnSlotFree too.
		c.free()
		forget()
		c.wg.Wait()
		h.leave(c)
	}()
	if !c.assign(ctx) {
		return
	}
	c.serve(ctx)
	c.finish()
}

// fail logs err with log, which is a port or [Server.Log], and calls OnError.
func (h *Handler) fail(log any, info *handlers.Info, err error) {
	var onError func()
	if h.OnError != nil {
		onError = func() { h.OnError(info, err) }
	}
	handlers.Report(log, info, err, onError)
}

// enter adds c to the connections of h, and stops c if its owner is stopping.
func (h *Handler) enter(c *Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conns == nil {
		h.conns = map[*Conn]struct{}{}
	}
	h.conns[c] = struct{}{}
	if h.owners[c.owner] {
		c.stopLocked()
	}
}

func (h *Handler) leave(c *Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, c)
}

// request asks for a slot.
func (h *Handler) request(ctx context.Context) (slot int, err error) {
	if h.OnSlotRequest == nil {
		return h.slots.Get()
	}
	if slot, err = h.OnSlotRequest(ctx); err == nil && slot < 0 {
		err = fmt.Errorf("%w: %d", ErrSlot, slot)
	}
	return slot, err
}

// release calls OnSlotFree and then takes the slot back, so that nobody gets the slot earlier.
func (h *Handler) release(slot int) {
	if h.OnSlotRequest == nil {
		defer func() { _ = h.slots.Put(slot) }() // no error: the slot was given out
	}
	if h.OnSlotFree != nil {
		h.OnSlotFree(slot)
	}
}

// connection serves c after the slot line.
func (h *Handler) connection(ctx context.Context, c *Conn) {
	if h.OnConnection != nil {
		h.OnConnection(ctx, c)
		return
	}
	c.setServed()
	_, _ = io.Copy(io.Discard, c)
}

// isEnd reports whether err only means that the connection has ended or was closed.
func isEnd(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe)
}
