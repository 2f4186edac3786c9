package udp

import (
	"time"

	"github.com/portluck/portluck/handlers"
)

// runner is a goroutine that raises the events of a socket's clients, one at a time. If a callback
// takes too long the runner is lost: it goes on with the client of that callback only, and another
// goroutine takes over the others.
type runner struct {
	reader bool // it also reads the socket
	ended  bool // a callback has ended the goroutine, and another one goes on

	// Guarded by Server.mu.
	seq     uint64 // the number of its callback
	calling bool   // that callback is running
	lost    bool
}

// patience is the interval of look. A callback takes too long if it runs for one or two intervals.
const patience = 4 * time.Millisecond

// turn is how many datagrams of one client are delivered before the next client's turn.
const turn = 16

// readyLocked schedules the callbacks of c.
func (k *socket) readyLocked(c *client) {
	if c.busy || c.gone {
		return
	}
	c.busy = true
	k.pushLocked(c)
	if !k.attended {
		k.attended = true
		k.srv.tasks.Go(k.help) // ends when no client is ready
	}
}

func (k *socket) pushLocked(c *client) {
	if k.last != nil {
		k.last.ready = c
	} else {
		k.ready = c
	}
	k.last = c
}

func (k *socket) popLocked() *client {
	c := k.ready
	if k.ready = c.ready; k.ready == nil {
		k.last = nil
	}
	c.ready = nil
	return c
}

// help raises events that the reading goroutine does not know of while it waits for a datagram.
func (k *socket) help() { k.work(&runner{}) }

// work raises the events that wait. If another runner is at work, a goroutine that reads takes over
// from it, and any other leaves the events to it. work returns false if r is lost.
func (k *socket) work(r *runner) bool {
	s := k.srv
	s.mu.Lock()
	if k.ready == nil || k.runner != nil && !r.reader {
		k.attended = k.runner != nil
		s.mu.Unlock()
		return true
	}
	if k.runner != nil {
		k.runner.lost = true // the reader must not read faster than events are raised
	}
	k.runner = r
	k.watchLocked()
	k.out.cork()
	for n := 1; k.ready != nil && !r.lost; n++ {
		k.serveLocked(k.popLocked(), r)
		if n%len(k.in) == 0 && !r.lost {
			s.mu.Unlock()
			k.out.uncork()
			k.out.cork()
			s.mu.Lock()
		}
	}
	if r.lost {
		s.mu.Unlock()
		k.out.uncork() // r may have called cork after its successor had called uncork
		return false
	}
	k.runner, k.attended = nil, false
	s.mu.Unlock()
	k.out.uncork()
	return true
}

// serveLocked raises the events of c until none waits or its turn is over. It unlocks Server.mu
// during callbacks.
func (k *socket) serveLocked(c *client, r *runner) {
	for n := 0; ; n++ {
		switch {
		case c.leaving && c.own == 0:
			k.departLocked(c, r)
			return
		case c.hub == nil:
			k.connectLocked(c, r)
		case c.first == nil:
			c.busy = false
			return
		case n >= turn && !r.lost && k.ready != nil:
			k.pushLocked(c)
			return
		default:
			k.deliverLocked(c, r)
		}
	}
}

// callLocked and called are called before and after a callback.
func (k *socket) callLocked(r *runner) {
	k.seq++
	r.seq, r.calling = k.seq, true
	k.srv.mu.Unlock()
}

func (k *socket) called(r *runner) {
	k.srv.mu.Lock()
	r.calling = false
}

// guard calls f, a callback for c that r runs. If f ends its goroutine, guard calls gone, under
// Server.mu, to finish the callback, and lets another goroutine go on with c.
func (k *socket) guard(c *client, r *runner, f func(), gone func(err error)) error {
	err := handlers.GuardExit(f, func(err error) {
		handlers.LogPanic(k.port, c.info(), err)
		k.called(r)
		r.ended = true
		gone(err)
		k.pushLocked(c)
		k.leftLocked(r)
		k.srv.mu.Unlock()
		k.out.uncork()
	})
	if err != nil {
		handlers.LogPanic(k.port, c.info(), err)
	}
	return err
}

// leftLocked starts another goroutine in place of r, whose goroutine ends.
func (k *socket) leftLocked(r *runner) {
	switch {
	case r.lost && k.attended:
	case r.lost, !r.reader:
		if !r.lost {
			k.runner = nil
		}
		k.attended = true
		k.srv.tasks.Go(k.help) // ends when no client is ready
	default:
		k.runner = nil
		k.srv.tasks.Go(k.read) // ends with the socket, or when it is lost
	}
}

// connectLocked raises OnConnect.
func (k *socket) connectLocked(c *client, r *runner) {
	var hub handlers.Client
	var err error
	k.callLocked(r)
	if p := k.guard(c, r, func() { hub, err = k.port.Connect(c.info(), c) }, func(err error) { c.leaveLocked(err, dropWaiting) }); p != nil {
		err = p
	}
	k.called(r)
	if err != nil || hub == nil {
		c.leaveLocked(err, dropWaiting)
		return
	}
	c.hub = hub
}

// deliverLocked raises OnMessage.
func (k *socket) deliverLocked(c *client, r *runner) {
	p := c.takeLocked()
	if c.leaving {
		c.own--
	}
	k.callLocked(r)
	err := k.message(c, r, p)
	k.called(r)
	k.deliveredLocked(c, p, err)
}

// deliveredLocked is called after OnMessage for p has returned err.
func (k *socket) deliveredLocked(c *client, p *packet, err error) {
	k.srv.freeLocked(p)
	if err != nil {
		if err == handlers.ErrClosed {
			err = nil
		}
		c.leaveLocked(err, dropWaiting)
	}
}

func (k *socket) message(c *client, r *runner, p *packet) (err error) {
	gone := func(err error) { k.deliveredLocked(c, p, err) }
	if p := k.guard(c, r, func() { err = c.hub.Message(k.srv.message(p)) }, gone); p != nil {
		return p
	}
	return err
}

// departLocked raises OnDisconnect. Datagrams that have come since c began to leave belong to a new
// client.
func (k *socket) departLocked(c *client, r *runner) {
	k.out.end(c, false)
	if hub := c.hub; hub != nil {
		k.callLocked(r)
		// OnDisconnect is not called again
		_ = k.guard(c, r, func() { hub.Disconnect(c.why) }, func(error) { c.hub = nil })
		k.called(r)
	}
	s := k.srv
	delete(s.table.clients, c.key)
	c.gone, c.busy = true, false
	if c.first != nil {
		k.succeedLocked(c)
	}
	s.goneLocked()
}

// succeedLocked makes a new client of the datagrams that have come since c began to leave.
func (k *socket) succeedLocked(c *client) {
	s := k.srv
	var next *client
	if !s.closed {
		next = s.admitLocked(c.key, c.seen())
	}
	for c.first != nil {
		p := c.takeLocked()
		if next == nil {
			s.freeLocked(p)
			s.counters.refused.Add(1)
			continue
		}
		next.appendLocked(p)
	}
	if next == nil {
		return
	}
	k.out.bequeath(c, next)
	if s.empty != nil {
		next.leaveLocked(handlers.ErrShutdown, deliverWaiting)
	}
	k.readyLocked(next)
}

// watchLocked starts the timer that finds callbacks which take too long.
func (k *socket) watchLocked() {
	if k.watching {
		return
	}
	k.watching = true
	if k.watch == nil {
		k.watch = time.AfterFunc(patience, k.look)
		return
	}
	k.watch.Reset(patience)
}

// look makes the runner lost if it is in the same callback as at the last look, and lets another
// goroutine take over.
func (k *socket) look() {
	s := k.srv
	s.mu.Lock()
	r := k.runner
	if r == nil {
		k.watching = false
		s.mu.Unlock()
		return
	}
	if r.calling && r.seq == k.looked {
		r.lost, k.runner = true, nil
		switch {
		case r.reader:
			s.tasks.Go(k.read) // ends with the socket, or when it is lost
		case k.ready != nil:
			s.tasks.Go(k.help) // ends when no client is ready
		default:
			k.attended = false
		}
	}
	k.looked = r.seq
	k.watch.Reset(patience)
	s.mu.Unlock()
	k.out.uncork()
}
