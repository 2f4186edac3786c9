package main

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// fanoutWorker has the members of one process.
type fanoutWorker struct {
	dialer  *dialer
	watcher watcher
	notify  func(seq int64)
	done    atomic.Int64

	mu       sync.Mutex
	members  []*member
	stuck    []*link
	alive    int64
	joined   int64 // of them
	floor    floor
	told     int64 // what notify was told
	latency  *histogram
	delivery delivery
}

func newFanoutWorker(d *dialer, w watcher, notify func(seq int64)) *fanoutWorker {
	return &fanoutWorker{dialer: d, watcher: w, notify: notify, floor: newFloor(), told: -1, latency: &histogram{}}
}

// A member receives what is published.
type member struct {
	*link
	worker *fanoutWorker
	inbox  inbox
	track  track
	joined bool // it has received something
	gone   bool
}

func (m *member) receive(b []byte) error {
	now := time.Now()
	m.worker.mu.Lock()
	err := m.inbox.take(m.link, b, func(msg []byte) {
		if seq, sent, ok := parsePublished(msg); ok {
			m.got(seq, now, sent)
		}
	})
	m.worker.unlockAndTell()
	return err
}

// got records message seq. The caller holds the mutex of the worker.
func (m *member) got(seq int64, now, sent time.Time) {
	w := m.worker
	if !m.joined {
		m.joined, m.track = true, newTrack()
		w.joined++
		w.floor.enter(0)
	}
	if seq == 0 {
		return
	}
	w.floor.leave(m.track.last)
	m.track.take(seq, &w.delivery)
	w.floor.enter(m.track.last)
	w.latency.record(now.Sub(sent))
	w.done.Add(1)
	w.delivery.Last = max(w.delivery.Last, now.UnixNano())
}

func (m *member) closed(error) {
	w := m.worker
	w.mu.Lock()
	m.gone = true
	w.delivery.Gone++
	w.alive--
	if m.joined {
		w.joined--
		w.floor.leave(m.track.last)
	}
	w.unlockAndTell()
}

// unlockAndTell unlocks mu, and calls notify if all members have a later message than before.
func (w *fanoutWorker) unlockAndTell() {
	reached := w.told
	switch {
	case w.alive == 0:
		reached = math.MaxInt64
	case w.joined == w.alive:
		reached = w.floor.lowest()
	}
	tell := reached > w.told
	w.told = reached
	w.mu.Unlock()
	if tell {
		w.notify(reached)
	}
}

func (w *fanoutWorker) progress() tally {
	w.mu.Lock()
	defer w.mu.Unlock()
	return tally{Done: w.done.Load(), Latency: w.latency}
}

func (w *fanoutWorker) close() {
	w.watcher.close()
	for _, l := range w.stuck {
		l.drop(false)
	}
}

func (w *fanoutWorker) do(ctx context.Context, s step) (tally, error) {
	switch s.Do {
	case "open":
		return w.open(ctx, s), nil
	case "finish":
		return w.finish(s), nil
	}
	return tally{}, errors.New("no such step: " + s.Do)
}

// open connects the members that never read first: once the others have joined, they have too.
func (w *fanoutWorker) open(ctx context.Context, s step) tally {
	dial := w.dialer.net
	w.dialer.net.Control = control(w.dialer.plan.Buffer)
	t := w.dialer.dialAll(ctx, s.Stuck, func(l *link) error {
		w.mu.Lock()
		w.stuck = append(w.stuck, l)
		w.mu.Unlock()
		return w.join(l)
	})
	w.dialer.net = dial
	w.mu.Lock()
	w.alive = int64(s.Conns - s.Stuck)
	w.mu.Unlock()
	t.add(w.dialer.dialAll(ctx, s.Conns-s.Stuck, func(l *link) error {
		m := &member{link: l, worker: w}
		w.mu.Lock()
		w.members = append(w.members, m)
		w.mu.Unlock()
		if err := w.watcher.watch(l, m); err != nil {
			l.drop(false)
			return err
		}
		return w.join(l)
	}))
	w.mu.Lock()
	w.alive = int64(len(w.members)) - w.delivery.Gone
	w.unlockAndTell()
	t.Conns = int64(len(w.members))
	return t
}

// join sends the line of --join, if there is one.
func (w *fanoutWorker) join(l *link) error {
	if w.dialer.plan.Line == "" {
		return nil
	}
	_, err := l.Write(l.codec.encode(nil, []byte(w.dialer.plan.Line)))
	return err
}

// finish counts the messages that have not arrived, returns what was counted since the last finish,
// and begins anew. A member that never reads learns of its disconnection only when it reads, so
// finish counts those at the end of the last round.
func (w *fanoutWorker) finish(s step) tally {
	w.mu.Lock()
	defer w.mu.Unlock()
	d, latency := w.delivery, w.latency
	w.delivery, w.latency = delivery{}, &histogram{}
	for _, m := range w.members {
		missing := s.Sent - m.track.last
		if m.gone {
			d.Missed += max(missing, 0)
			continue
		}
		d.skip(missing)
	}
	for _, l := range w.stuck {
		if !s.Again && isClosed(l) {
			d.StuckClosed++
		}
	}
	return tally{Conns: w.alive, Latency: latency, Delivery: d}
}

// stuckTime bounds reading from a member that has not read until then.
const stuckTime = 20 * time.Millisecond

// isClosed reads what has arrived, and reports whether the server has closed.
func isClosed(l *link) bool {
	if err := l.base.SetReadDeadline(time.Now().Add(stuckTime)); err != nil {
		return true
	}
	_, err := io.Copy(io.Discard, onlyReader{l.base.Conn})
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// onlyReader hides the other methods of a connection, so that io.Copy does not splice.
type onlyReader struct{ c net.Conn }

func (r onlyReader) Read(p []byte) (int, error) { return r.c.Read(p) }
