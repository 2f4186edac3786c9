package udp

import (
	"time"

	"github.com/portluck/portluck/handlers"
)

// runner is a goroutine that raises events, one after the other: those of all the clients of a
// socket, until a callback takes too long. Then it is lost: it keeps the client of that callback,
// and another goroutine goes on with the rest.
type runner struct {
	reader bool // it is the one that reads
	ended  bool // a callback has ended its goroutine; another goes on

	// These are under Server.mu.
	seq     uint64 // of its callback
	calling bool   // that callback runs
	lost    bool
}

// patience is after how long a callback is seen to take too long, once or twice.
const patience = 4 * time.Millisecond

// turn is how many datagrams of a client are delivered before the next client's.
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
		k.srv.tasks.Go(k.help) // ends when nobody is ready
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

// help raises what the goroutine that reads knows nothing of, as it waits.
func (k *socket) help() { k.work(&runner{}) }

// work raises the events that wait. One that does not read leaves them to another goroutine if that
// does; one that reads relieves it. It is false when r is lost.
func (k *socket) work(r *runner) bool {
	s := k.srv
	s.mu.Lock()
	if k.ready == nil || k.runner != nil && !r.reader {
		k.attended = k.runner != nil
		s.mu.Unlock()
		return true
	}
	if k.runner != nil {
		k.runner.lost = true // who reads must not read faster than events are raised
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
		k.out.uncork() // it may have been corked after who came next had uncorked it
		return false
	}
	k.runner, k.attended = nil, false
	s.mu.Unlock()
	k.out.uncork()
	return true
}

// serveLocked raises the events of c until none waits, or it is others' turn. It gives Server.mu up
// meanwhile.
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

// callLocked and calledLocked run before and after a callback.
func (k *socket) callLocked(r *runner) {
	k.seq++
	r.seq, r.calling = k.seq, true
	k.srv.mu.Unlock()
}

func (k *socket) called(r *runner) {
	k.srv.mu.Lock()
	r.calling = false
}

// guard calls f, a callback for c that r runs. If f ends its goroutine, another goes on with c,
// once gone, which is called under Server.mu, has said what becomes of it.
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

// leftLocked has others go on where r, whose goroutine ends, has been.
func (k *socket) leftLocked(r *runner) {
	switch {
	case r.lost && k.attended:
	case r.lost, !r.reader:
		if !r.lost {
			k.runner = nil
		}
		k.attended = true
		k.srv.tasks.Go(k.help) // ends when nobody is ready
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

// deliveredLocked runs after OnMessage, which was called with p.
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

// departLocked raises OnDisconnect. Datagrams that have come since c left belong to a new client.
func (k *socket) departLocked(c *client, r *runner) {
	k.out.end(c, false)
	if hub := c.hub; hub != nil {
		k.callLocked(r)
		_ = k.guard(c, r, func() { hub.Disconnect(c.why) }, func(error) { c.hub = nil }) // it has been raised
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

// succeedLocked makes a new client for the datagrams that have come since c left.
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

// watchLocked starts the timer that finds a callback which takes too long.
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

// look takes the place of the runner from it if it is in the same callback as the last time.
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
			s.tasks.Go(k.help) // ends when nobody is ready
		default:
			k.attended = false
		}
	}
	k.looked = r.seq
	k.watch.Reset(patience)
	s.mu.Unlock()
	k.out.uncork()
}
