package main

import (
	"context"
	"sync"
	"sync/atomic"
)

// idleWorker has connections that say nothing.
type idleWorker struct {
	dialer  *dialer
	watcher watcher
	shut    atomic.Int64 // by the server
	opened  atomic.Int64

	mu    sync.Mutex
	conns []*idleConn
}

// An idleConn sends nothing, and receives what the server sends.
type idleConn struct {
	*link
	worker *idleWorker
	inbox  inbox
}

// receive drops what it gets, but answers pings: a server closes a WebSocket that does not. It does
// not see those inside TLS.
func (c *idleConn) receive(b []byte) error {
	if c.worker.dialer.plan.Proto != "ws" {
		return nil
	}
	return c.inbox.take(c.link, b, func([]byte) {})
}

func (c *idleConn) closed(error) { c.worker.shut.Add(1) }

func (w *idleWorker) progress() tally { return tally{Done: w.opened.Load() - w.shut.Load()} }
func (w *idleWorker) close()          { w.watcher.close() }

func (w *idleWorker) do(ctx context.Context, s step) (tally, error) {
	var t tally
	switch s.Do {
	case "open":
		t = w.dialer.dialAll(ctx, s.Conns-len(w.conns), w.keep)
	case "burst":
		t = w.burst(ctx)
	}
	t.Conns, t.Closed = w.progress().Done, w.shut.Load()
	return t, nil
}

// keep adds a connection and sends its line.
func (w *idleWorker) keep(l *link) error {
	c := &idleConn{link: l, worker: w}
	if err := w.watcher.watch(l, c); err != nil {
		l.drop(false)
		return err
	}
	w.opened.Add(1)
	w.mu.Lock()
	w.conns = append(w.conns, c)
	w.mu.Unlock()
	if line := w.dialer.plan.Line; line != "" {
		if _, err := c.Write(c.codec.encode(nil, []byte(line))); err != nil {
			return err
		}
	}
	if w.dialer.plan.Burst == 0 && w.dialer.plan.secure() {
		c.link = nil // the state of TLS is most of what this side needs
	}
	return nil
}

// burst sends one message on each connection.
func (w *idleWorker) burst(ctx context.Context) (t tally) {
	var next atomic.Int64
	var wg sync.WaitGroup
	msg := message(nil, w.dialer.plan.Burst, 0)
	count := func(err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		t.Done++
		if err != nil {
			t.fail(err)
		}
	}
	for range dialers {
		wg.Go(func() { // ends when every connection had its turn
			for i := next.Add(1) - 1; int(i) < len(w.conns) && ctx.Err() == nil; i = next.Add(1) - 1 {
				c := w.conns[i]
				_, err := c.Write(c.codec.encode(nil, msg))
				count(err)
			}
		})
	}
	wg.Wait()
	return t
}
