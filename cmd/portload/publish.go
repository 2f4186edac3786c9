package main

import (
	"context"
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
	start   int64 // what was sent before this run
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

// receive drops what it gets: a publisher may be a member too.
func (p *publisher) receive(b []byte) error { return p.inbox.take(p.link, b, func([]byte) {}) }

func (p *publisher) closed(err error) {
	p.lost <- fmt.Errorf("the server closed the publisher: %w", err)
}

// send sends messages from number seq on, n of them, in one write.
func (p *publisher) send(seq, n int64) error {
	p.out = p.out[:0]
	for now := time.Now(); n > 0; n-- {
		p.msg = published(p.msg, p.session.plan.Size, seq, now)
		p.out = p.codec.encode(p.out, p.msg)
		seq++
	}
	_, err := p.Write(p.out)
	return err
}

// gather sends message 0 until every member has it: then all members have joined.
func (p *publisher) gather(ctx context.Context) error {
	limit := time.After(p.session.plan.Timeout)
	for again := 50 * time.Millisecond; ; again = min(2*again, time.Second) {
		if err := p.send(0, 1); err != nil {
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

// publish sends batches, each in one write, as fast as the rate and the window allow.
func (p *publisher) publish(ctx context.Context, o *fanoutOptions) error {
	p.start, p.stalls = p.sent, 0
	for begin := time.Now(); ctx.Err() == nil; {
		n := int64(o.batch)
		if o.plan.Count > 0 {
			n = min(n, int64(o.plan.Count)-(p.sent-p.start))
		}
		if n == 0 {
			return nil
		}
		if o.rate > 0 {
			due := begin.Add(time.Duration(float64(p.sent-p.start) / o.rate * float64(time.Second)))
			pause(ctx, time.Until(due)) // not at all, if it is late
		}
		if o.window > 0 {
			if err := p.await(ctx, p.sent+n-int64(o.window)); err != nil || ctx.Err() != nil {
				return err
			}
		}
		if err := p.send(p.sent+1, n); err != nil {
			return err
		}
		p.sent += n
	}
	return nil
}

// await waits until all members have message seq, at most for --timeout.
func (p *publisher) await(ctx context.Context, seq int64) error {
	if p.session.crew.reached() >= seq {
		return nil
	}
	limit := time.NewTimer(p.session.plan.Timeout)
	defer limit.Stop()
	for p.session.crew.reached() < seq {
		select {
		case <-p.session.crew.news:
		case <-limit.C:
			p.stalls++
			return nil
		case err := <-p.lost:
			return err
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// drain waits until all members have everything, or nothing has come for settle.
func (p *publisher) drain(ctx context.Context, settle time.Duration) {
	before, since := p.session.crew.done(), time.Now()
	tick := time.NewTicker(progressTime / 2)
	defer tick.Stop()
	for p.session.crew.reached() < p.sent && ctx.Err() == nil {
		select {
		case <-p.session.crew.news:
		case <-tick.C:
		case <-ctx.Done():
		}
		if now := p.session.crew.done(); now != before {
			before, since = now, time.Now()
		}
		if time.Since(since) > settle {
			return
		}
	}
}
