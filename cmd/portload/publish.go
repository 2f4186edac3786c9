package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A publisher sends the messages of a fan-out, from the parent process.
type publisher struct {
	*link
	session *session
	inbox   inbox
	watcher watcher
	lost    chan error // the server has closed
	msg     []byte
	out     []byte
	sent    int64
	stalls  int64 // times that not all had a message in time
}

// newPublisher connects.
func newPublisher(ctx context.Context, s *session) (*publisher, error) {
	d, err := newDialer(&s.plan)
	if err != nil {
		return nil, err
	}
	w, err := newWatcher(&s.plan)
	if err != nil {
		return nil, err
	}
	p := &publisher{session: s, watcher: w, lost: make(chan error, 1)}
	if p.link, err = d.dial(ctx); err == nil {
		err = w.watch(p.link, p)
	}
	if err != nil {
		w.close()
		return nil, err
	}
	return p, nil
}

// receive forgets what came: a publisher may be a member too.
func (p *publisher) receive(b []byte) error { return p.inbox.take(p.link, b, func([]byte) {}) }

func (p *publisher) closed(err error) {
	p.lost <- fmt.Errorf("the server closed the publisher: %w", err)
}

func (p *publisher) send(seq int64) error {
	p.msg = published(p.msg, p.session.plan.Size, seq, time.Now())
	p.out = p.codec.encode(p.out[:0], p.msg)
	_, err := p.Write(p.out)
	return err
}

// gather sends message 0 until every member has it: then all are in.
func (p *publisher) gather(ctx context.Context) error {
	limit := time.After(p.session.plan.Timeout)
	for again := 50 * time.Millisecond; ; again = min(2*again, time.Second) {
		if err := p.send(0); err != nil {
			return err
		}
		retry := time.After(again)
		for waiting := true; waiting; {
			if p.session.crew.reached() >= 0 {
				return nil
			}
			select {
			case <-p.session.crew.news:
			case <-retry:
				waiting = false
			case <-limit:
				return fmt.Errorf("not every member received a first message within %v (--timeout)", p.session.plan.Timeout)
			case err := <-p.lost:
				return err
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// oneByOne sends a message when all members have the one before.
func (p *publisher) oneByOne(ctx context.Context) error {
	limit := time.NewTimer(0)
	defer limit.Stop()
	for p.more(ctx) {
		p.sent++
		if err := p.send(p.sent); err != nil {
			return err
		}
		limit.Reset(p.session.plan.Timeout)
		for waiting := true; waiting && p.session.crew.reached() < p.sent; {
			select {
			case <-p.session.crew.news:
			case <-limit.C:
				p.stalls++
				waiting = false
			case err := <-p.lost:
				return err
			case <-ctx.Done():
				return nil
			}
		}
	}
	return nil
}

// atRate sends rate messages a second; as many as the server takes if it is 0.
func (p *publisher) atRate(ctx context.Context, rate float64) error {
	for start := time.Now(); p.more(ctx); {
		if rate > 0 {
			due := start.Add(time.Duration(float64(p.sent) / rate * float64(time.Second)))
			pause(ctx, time.Until(due)) // not at all, if it is late
		}
		select {
		case err := <-p.lost:
			return err
		default:
		}
		p.sent++
		if err := p.send(p.sent); err != nil {
			return err
		}
	}
	return nil
}

func (p *publisher) more(ctx context.Context) bool {
	n := p.session.plan.Count
	return ctx.Err() == nil && (n == 0 || p.sent < int64(n))
}

// drain waits until all members have everything, or nothing has come for settle.
func (p *publisher) drain(ctx context.Context, settle time.Duration) {
	before, since := p.session.crew.progress(), time.Now()
	tick := time.NewTicker(progressTime / 2)
	defer tick.Stop()
	for p.session.crew.reached() < p.sent && ctx.Err() == nil {
		select {
		case <-p.session.crew.news:
		case <-tick.C:
		case <-ctx.Done():
		}
		if now := p.session.crew.progress(); now != before {
			before, since = now, time.Now()
		}
		if time.Since(since) > settle {
			return
		}
	}
}

var errModes = errors.New("--rate and --flood exclude each other")
