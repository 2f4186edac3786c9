package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// fan has the publisher send Burst messages in one write, whenever less than Depth are under way, for Time, and waits
// for the last delivery. A member that reads must get all of them.
func (l *load) fan(q request) (ops int64, err error) {
	if l.publisher == nil {
		return 0, errors.New("no publisher")
	}
	out := slices.Repeat(frame(q.Proto, tagPublish, q.Size), q.Burst)
	for _, k := range l.clients {
		k.received = 0
	}
	var times []time.Time // of the messages that were published
	members := len(l.clients)
	deadline := time.Now().Add(q.Time)
	for {
		for now := time.Now(); now.Before(deadline) && len(times)*members-int(ops) <= (q.Depth-q.Burst)*members; {
			times = append(times, slices.Repeat([]time.Time{now}, q.Burst)...)
			if err := l.send(l.publisher, out); err != nil {
				return ops, err
			}
		}
		missing := len(times)*members - int(ops)
		if missing == 0 {
			return ops, nil
		}
		ready, err := l.wait()
		if err != nil {
			return ops, fmt.Errorf("%d of %d deliveries are missing: %w", missing, len(times)*members, err)
		}
		n, err := l.deliver(ready, times)
		ops += n
		if err != nil {
			return ops, err
		}
	}
}

// deliver takes what is ready, and returns how many deliveries that were.
func (l *load) deliver(ready []unix.EpollEvent, times []time.Time) (ops int64, err error) {
	for _, e := range ready {
		k := l.links[e.Fd]
		if e.Events&unix.EPOLLOUT != 0 {
			if err := l.flush(k); err != nil {
				return ops, err
			}
		}
		n, err := l.receive(k)
		if err != nil {
			return ops, err
		}
		if n == 0 || k == l.publisher {
			continue // it may be a member too, but does not count
		}
		if k.received > len(times) {
			return ops, fmt.Errorf("%d deliveries of %d messages", k.received, len(times))
		}
		ops += int64(n)
		l.latency = append(l.latency, time.Since(times[k.received-1]))
	}
	return ops, nil
}
