package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sync"
	"time"
)

// A pump keeps messages in flight on one connection. One goroutine receives. That goroutine sends
// too, and so does the pacer if there is one.
type pump struct {
	*client
	worker *echoWorker
	queue  chan int       // how many to send, if another goroutine does that
	wg     sync.WaitGroup // that goroutine

	mu       sync.Mutex
	schedule *schedule   // when messages are due; nil if the latency counts from sending
	next     int         // the place of the next message in the schedule
	due      int         // messages to send as soon as fewer are in flight
	ended    bool        // no more messages become due
	flying   int         // messages in flight
	times    []time.Time // a ring: where the latency of each message in flight begins
	received uint32      // echoes
	last     time.Time   // when an echo came, or when the first message in flight was sent
	wrong    error       // why the connection is of no more use
	closed   bool        // nothing is sent any more
	watchdog *time.Timer
}

// inline is the most bytes in flight that the receiving goroutine sends by itself: they fit into
// the buffers of a connection, so that a write never waits for a server that waits for a read.
const inline = 32 << 10

func newPump(w *echoWorker, l *link) *pump {
	return &pump{client: newClient(l), worker: w, times: make([]time.Time, w.dialer.plan.Depth)}
}

// begin prepares a run of count messages, or of any number if count is negative. With a schedule,
// the pacer makes the messages due; the first has the number next in the schedule.
func (p *pump) begin(count int, s *schedule, next int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.schedule, p.next, p.due, p.ended, p.closed = s, next, count, s == nil, false
	switch {
	case s != nil:
		p.due = 0
	case count < 0:
		p.due = math.MaxInt
	}
	plan := p.worker.dialer.plan
	p.watchdog = time.AfterFunc(plan.Timeout, p.starve)
	_ = p.SetDeadline(time.Time{}) // fails when it is closed; then Write says so
	if plan.Depth*plan.Size > inline {
		p.queue = make(chan int, plan.Depth)
		p.wg.Go(p.write) // ends when finish closes queue
	}
}

// run sends what is due until timed ends, and receives until all echoes have come. It ends sooner
// when ctx ends, or when it fails; then the connection is of no more use.
func (p *pump) run(ctx, timed context.Context) {
	stop := context.AfterFunc(ctx, p.expire)
	defer stop()
	p.launch(0)
	err := p.receiveAll(timed)
	p.finish(err)
	if err == nil || ctx.Err() != nil {
		return
	}
	p.worker.mu.Lock()
	defer p.worker.mu.Unlock()
	p.worker.tally.fail(err)
}

// expire ends the reads and writes that wait.
func (p *pump) expire() { _ = p.base.SetDeadline(time.Unix(1, 0)) } // fails when it is closed

// finish ends the goroutine that sends.
func (p *pump) finish(err error) {
	p.watchdog.Stop()
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	if p.queue == nil {
		return
	}
	if err != nil {
		p.expire()
	}
	close(p.queue)
	p.wg.Wait()
	p.queue = nil
}

func (p *pump) receiveAll(timed context.Context) error {
	timeout := p.worker.dialer.plan.Timeout
	for !p.over() {
		before := p.received // only this goroutine changes it
		err := p.receive(p.got)
		if n := p.received - before; n > 0 {
			p.worker.done.Add(int64(n))
			p.watchdog.Reset(timeout)
		}
		if timed.Err() != nil {
			p.stop()
		}
		switch wrong := p.failure(); {
		case wrong != nil:
			return wrong
		case p.over():
			return nil
		case errors.Is(err, io.EOF):
			return errors.New("the server closed with messages in flight")
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("no echo within %v (--timeout)", timeout)
		case err != nil:
			return err
		}
		p.launch(0)
	}
	return nil
}

// over reports whether the run is complete.
func (p *pump) over() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.complete()
}

// complete is over for a caller that holds mu.
func (p *pump) complete() bool { return p.ended && p.due == 0 && p.flying == 0 }

func (p *pump) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wrong
}

// starve fails the connection if an echo is overdue.
func (p *pump) starve() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flying > 0 && time.Since(p.last) >= p.worker.dialer.plan.Timeout {
		p.expire()
	}
}

// launch makes n more messages due, and sends as many as may be in flight.
func (p *pump) launch(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.due += n
	n = min(p.due, len(p.times)-p.flying)
	if n == 0 || p.closed || p.wrong != nil {
		return
	}
	now := time.Now()
	if p.flying == 0 {
		p.last = now
		p.watchdog.Reset(p.worker.dialer.plan.Timeout)
	}
	for range n {
		p.times[(int(p.received)+p.flying)%len(p.times)] = p.begins(now)
		p.flying++
	}
	p.due -= n
	if p.queue != nil {
		p.queue <- n // there is room for all that may fly
		return
	}
	if err := p.send(n, p.worker.dialer.plan.Size); err != nil {
		p.wrong = err
		p.expire()
	}
}

// begins returns where the latency of the next message begins. The caller holds mu.
func (p *pump) begins(now time.Time) time.Time {
	if p.schedule == nil {
		return now
	}
	at := p.schedule.at(p.next)
	p.next += p.schedule.step
	return at
}

// stop drops what is due. A message of a schedule is recorded as unsent.
func (p *pump) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.schedule != nil {
		for now := time.Now(); p.due > 0; p.due-- {
			p.worker.unsent(now.Sub(p.begins(now)))
		}
	}
	p.due = 0
}

// end says that no more messages become due.
func (p *pump) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if p.complete() {
		p.expire() // the goroutine that receives waits for an echo that nobody asked for
	}
}

// write sends what the queue says, until it is closed. A connection that fails fails in receiveAll
// too.
func (p *pump) write() {
	for n := range p.queue {
		if p.send(n, p.worker.dialer.plan.Size) != nil {
			p.base.Close()
			return
		}
	}
}

// got takes one echo.
func (p *pump) got(msg []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.wrong != nil:
	case p.flying == 0:
		p.wrong = fmt.Errorf("an echo came twice: %.40q", msg)
	case !p.worker.dialer.plan.isEcho(msg, p.received):
		p.wrong = fmt.Errorf("echo %d is lost, out of order or not what was sent: %.40q", p.received, msg)
	default:
		p.last = time.Now()
		p.worker.tally.Latency.record(p.last.Sub(p.times[int(p.received)%len(p.times)]))
		p.received++
		p.flying--
	}
}
