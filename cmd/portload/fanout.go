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
	latency histogram

	mu       sync.Mutex
	members  []*member
	stuck    []*link
	alive    int64
	top      int64 // the highest message that came; -1 before the first
	have     int64 // members that have it
	told     int64 // what notify was told
	delivery delivery
}

func newFanoutWorker(d *dialer, w watcher, notify func(seq int64)) *fanoutWorker {
	return &fanoutWorker{dialer: d, watcher: w, notify: notify, top: -1, told: -1}
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

// got takes message seq. The worker is locked.
func (m *member) got(seq int64, now, sent time.Time) {
	w := m.worker
	highest := !m.joined
	if !m.joined {
		m.joined, m.track = true, newTrack()
	}
	if seq > 0 {
		highest = m.track.take(seq, &w.delivery)
		w.latency.record(now.Sub(sent))
		w.done.Add(1)
		w.delivery.Last = max(w.delivery.Last, now.UnixNano())
	}
	switch {
	case !highest:
	case seq > w.top:
		w.top, w.have = seq, 1
	case seq == w.top:
		w.have++
	}
}

func (m *member) closed(error) {
	w := m.worker
	w.mu.Lock()
	m.gone = true
	w.delivery.Gone++
	w.alive--
	if m.joined && m.track.last == w.top {
		w.have--
	}
	w.unlockAndTell()
}

// unlockAndTell unlocks, and tells if all members have another message.
func (w *fanoutWorker) unlockAndTell() {
	reached := w.told
	switch {
	case w.alive == 0:
		reached = math.MaxInt64
	case w.have >= w.alive:
		reached = w.top
	}
	tell := reached > w.told
	w.told = reached
	w.mu.Unlock()
	if tell {
		w.notify(reached)
	}
}

func (w *fanoutWorker) progress() int64 { return w.done.Load() }

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
		return w.finish(s.Sent), nil
	}
	return tally{}, errors.New("no such step: " + s.Do)
}

// open connects the members that never read first: when the others are in, they are too.
func (w *fanoutWorker) open(ctx context.Context, s step) tally {
	t := w.dialer.dialAll(ctx, s.Stuck, func(l *link) error {
		w.mu.Lock()
		w.stuck = append(w.stuck, l)
		w.mu.Unlock()
		return w.join(l)
	})
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

// join says the line that the plan wants to be said.
func (w *fanoutWorker) join(l *link) error {
	if w.dialer.plan.Line == "" {
		return nil
	}
	_, err := l.Write(l.codec.encode(nil, []byte(w.dialer.plan.Line)))
	return err
}

// finish counts what has not come of sent messages, and says all that was counted.
func (w *fanoutWorker) finish(sent int64) tally {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.delivery
	for _, m := range w.members {
		missing := sent - m.track.last
		if m.gone {
			d.Missed += max(missing, 0)
			continue
		}
		d.skip(missing)
	}
	for _, l := range w.stuck {
		if isClosed(l) {
			d.StuckClosed++
		}
	}
	return tally{Conns: w.alive, Latency: &w.latency, Delivery: d}
}

// stuckTime bounds reading from a member that has not read until then.
const stuckTime = 20 * time.Millisecond

// isClosed reads what there is, to see whether the server has closed.
func isClosed(l *link) bool {
	if err := l.base.SetReadDeadline(time.Now().Add(stuckTime)); err != nil {
		return true
	}
	_, err := io.Copy(io.Discard, onlyReader{l.base.Conn})
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// onlyReader hides that a connection can be spliced.
type onlyReader struct{ c net.Conn }

func (r onlyReader) Read(p []byte) (int, error) { return r.c.Read(p) }
