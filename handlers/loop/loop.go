// Package loop drives attached connections: it reads from them, calls their codec to decode, raises
// the events and writes the replies.
//
// There are two drivers behind one interface. The epoll driver, on Linux, keeps a connection as a
// bare descriptor: an idle one has no goroutine, buffer or timer. The goroutine driver uses one
// goroutine for each connection and works on every system; it also drives connections without a
// descriptor.
//
// A port drives all its clients with one loop. A handler that runs without a port, as a server or
// client of its own, has its own loop. Programs do not need this package: its API may change with
// the handlers.
package loop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/setting"
	"github.com/portluck/portluck/handlers/internal/tasks"
)

// Bounds of every connection.
const (
	flushAt    = 64 << 10 // replies of one turn beyond this are sent before the turn ends
	lingerTime = time.Second
	lingerMax  = 256 << 10 // unread bytes discarded so that a reset does not lose the last reply
	closeWait  = 5 * time.Second
	// quiet is how long a peer must have been silent before a shutdown ends its connection.
	quiet = 20 * time.Millisecond
)

// Events receives the events of a connection. Only one goroutine at a time calls it.
type Events interface {
	// Connect announces the client: at once, or after the codec's handshake. An error ends the
	// connection.
	Connect(info *handlers.Info) error
	// Message delivers one message. An error ends the connection.
	Message(m handlers.Message) error
	// Disconnect is called once, at the end, whether or not Connect was called.
	Disconnect(err error)
}

// A Waker is an Events that also handles wake-ups requested with [Conn.Wake].
type Waker interface {
	Events
	// Woken is called after [Conn.Wake], in turn with the other events, perhaps early or too often.
	// idle is the time since a byte last came or went. Woken may set m.Hijack or m.Next, which then
	// decodes what is left. It returns the delay until its next call; zero requests none.
	Woken(idle time.Duration, m *handlers.Messages) (again time.Duration)
}

// A PanicLogger is an Events that also logs panics of its codec; [Loop.Panicked] is for others.
type PanicLogger interface {
	Events
	// LogPanic is called with a *[handlers.PanicError].
	LogPanic(err error)
}

// A Host is a port that lends its loop to handlers with clients of their own.
type Host interface {
	handlers.Port
	Loop() *Loop
}

// A Conn is a driven connection. Any goroutine may use its [handlers.Stream].
type Conn interface {
	handlers.Stream
	// Start admits the connection to the loop. The caller must call run once, in a goroutine that
	// may block: run returns when the connection has ended or another goroutine drives it. If the
	// loop is closing, Start closes the connection and returns nil.
	Start(ev Events) (run func())
	// Queued returns how many bytes wait for the peer to read them. ok is false if nothing can
	// be written any more.
	Queued() (n int, ok bool)
	// Drain calls f.Drained once the queue is empty or the connection is broken. It returns false,
	// without calling f, if it already is.
	Drain(f Drainer) bool
	// Quit ends the connection with err. The farewell follows what is queued; nothing can be sent
	// after it. The connection is closed within 5 seconds, even if the peer reads nothing.
	Quit(err error)
	// LogPanic logs err, as [Loop.Panicked] describes, if one of the program's callbacks has
	// panicked. Panics that the connection's events return are logged without it.
	LogPanic(err error)
	// Framing returns the present framing of the connection's messages, or nil if only its
	// codec knows it.
	Framing() handlers.Framing
	// Flush sends what the kernel accepts of the queue, also inside a callback, whose writes
	// otherwise wait for its return.
	Flush()
	// Pause stops reading. Bytes already read are still delivered by the Decode that is running.
	Pause()
	// Resume continues reading after Pause.
	Resume()
	// Wake requests a call of [Waker.Woken] after d, or earlier, if the connection's events are a
	// Waker. It may be called from Start on.
	Wake(d time.Duration)
	// SetNoDelay is like [net.TCPConn.SetNoDelay]. It does nothing if the connection does not
	// use TCP.
	SetNoDelay(on bool) error
	// SetKeepAlive turns TCP keep-alive probes on or off. The first is sent after idle, in whole
	// seconds, or the time set before if zero. It does nothing if the connection does not use TCP.
	SetKeepAlive(on bool, idle time.Duration) error
	// Feed sends as much of p, which holds whole framed messages, as it can at once and returns how
	// many bytes it took: whole messages, and none while something is queued. If it took less than
	// p, it calls f.Drained once the queue is empty or nothing can be sent any more. It does not
	// keep p. The error is [handlers.ErrClosed].
	Feed(p []byte, f FrameSource) (n int, err error)
}

// A Drainer learns when a connection's queue is empty: see [Conn.Drain] and [Conn.Feed].
type Drainer interface{ Drained() }

// A FrameSource knows where the messages that it passes to [Conn.Feed] end.
type FrameSource interface {
	Drainer
	// End returns the end of the first message that ends at n or later.
	End(n int) int
}

// Tasks is a group of goroutines whose owner waits for them.
type Tasks = tasks.Group

// A Driver selects how connections are driven.
type Driver int

const (
	// Auto is the epoll driver for connections with a descriptor, where there is one, else
	// Goroutines.
	Auto Driver = iota
	// Goroutines uses one goroutine for each connection.
	Goroutines
)

// A Loop drives connections. Set its fields before the first New. Any goroutine may call its
// methods.
type Loop struct {
	// Driver selects the driver. The zero value is Auto.
	Driver Driver
	// Timeout bounds how long a connection may be idle. Zero or negative means no bound.
	Timeout time.Duration
	// HandshakeTimeout bounds the codec's handshake. Zero or negative means no bound.
	HandshakeTimeout time.Duration
	// MessageTimeout bounds the time from the first byte of a message to its last. The client then
	// ends with [handlers.ErrTimeout]. Zero or negative means no bound.
	MessageTimeout time.Duration
	// PingInterval is how long a peer may send nothing before it is pinged, if its codec is a
	// [handlers.Pinger]. Up to an eighth is added, which differs by connection. If no byte comes or
	// goes for another PingInterval, the client ends with [handlers.ErrTimeout]. Zero or negative
	// means no pings.
	PingInterval time.Duration
	// CloseTimeout bounds the time that an ended connection may take to send its queue, and the
	// wait for the answer to a farewell, which is never over 5 seconds. Zero means 5 seconds,
	// negative means no bound.
	CloseTimeout time.Duration
	// MaxQueue bounds the bytes queued for one client. Zero means 1 MiB, negative means no bound.
	MaxQueue int
	// Budget bounds the memory of incomplete messages of all clients. If nil, the loop has its own.
	Budget *handlers.Budget
	// Panicked, if not nil, is called with a *[handlers.PanicError] when a function that took a
	// connection out of the loop ([handlers.Messages]) panics, or a codec whose connection's events
	// are not a [PanicLogger]. Several goroutines may call it at once. A panic of Panicked itself
	// is dropped.
	Panicked func(err error)

	tasks  Tasks        // connections, and goroutines that work for them
	n      atomic.Int64 // connections
	poller poller
	own    handlers.Budget // used if Budget is nil

	linger     time.Duration // replaces lingerTime unless zero; for tests
	processors int           // replaces GOMAXPROCS unless zero; for tests

	mu      sync.Mutex
	closing bool                   // no connection is admitted any more
	closed  bool                   // no connection may leave the loop any more
	conns   map[*goConn]struct{}   // those of the goroutine driver
	hijacks map[*hijacked]struct{} // connections that have left the loop but are still in use
}

// New returns a driven connection for c. It does nothing to c before [Conn.Start] is called.
func (l *Loop) New(c handlers.Conn, a handlers.Attachment) Conn {
	if l.Driver == Auto {
		return l.NewIdle(c, a)
	}
	return l.newGoConn(c, a)
}

// NewIdle is New for a connection that is to have no goroutine while it is idle, whatever Driver
// says, if that can be.
func (l *Loop) NewIdle(c handlers.Conn, a handlers.Attachment) Conn {
	if fc := l.newPolled(c, a); fc != nil {
		return fc
	}
	return l.newGoConn(c, a)
}

// ender is a connection that a shutdown can end.
type ender interface {
	halt()             // ends soon; still serves what the peer has already sent
	abort(cause error) // ends at once
	events() Events    // nil if it has left the loop
}

// Halt ends the connections whose events f picks, as Shutdown does, but waits for none.
func (l *Loop) Halt(f func(ev Events) bool) {
	l.mu.Lock()
	all := l.allLocked()
	l.mu.Unlock()
	for _, c := range all {
		if f(c.events()) {
			c.halt()
		}
	}
}

// Shutdown ends every connection, evenly spread over the duration spread, and waits until all have
// ended. If ctx ends first, it closes the remaining connections and returns the error of ctx
// without waiting for callbacks to return. No connection can be started afterwards.
func (l *Loop) Shutdown(ctx context.Context, spread time.Duration) error {
	all := l.refuse()
	for i, c := range all {
		if spread > 0 && i > 0 && i%16 == 0 {
			handlers.Pause(ctx.Done(), spread*16/time.Duration(len(all)))
		}
		c.halt()
	}
	err := l.wait(ctx)
	if err != nil {
		l.Close()
	}
	return err
}

// Close closes every connection at once. It does not wait for callbacks to return.
func (l *Loop) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	for _, c := range l.refuse() {
		c.abort(handlers.ErrShutdown)
	}
}

// Wait waits until every connection, and every goroutine started for one, has ended. After
// Shutdown or Close it also waits for the goroutines of the loop itself.
func (l *Loop) Wait() { _ = l.wait(context.Background()) }

func (l *Loop) wait(ctx context.Context) error {
	if err := l.tasks.Wait(ctx); err != nil {
		return err
	}
	return l.poller.wait(ctx)
}

// Len returns the number of connections that the loop drives now.
func (l *Loop) Len() int { return int(l.n.Load()) }

// refuse stops the admission of connections and returns those that were admitted.
func (l *Loop) refuse() []ender {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closing = true
	l.poller.refuse()
	return l.allLocked()
}

// allLocked returns the connections that were admitted.
func (l *Loop) allLocked() []ender {
	all := make([]ender, 0, l.Len())
	for c := range l.conns {
		all = append(all, c)
	}
	for d := range l.hijacks {
		all = append(all, d)
	}
	return l.poller.all(all)
}

// admitted counts a connection. The caller has already put it where refuse finds it.
func (l *Loop) admitted() {
	l.tasks.Add()
	l.n.Add(1)
}

// left undoes admitted when a connection has left the loop or ended.
func (l *Loop) left() {
	l.n.Add(-1)
	l.tasks.Done()
}

func (l *Loop) closeTimeout() time.Duration {
	return setting.Or(l.CloseTimeout, closeWait, setting.Never)
}

// quitTime returns how long the peer may take to read and answer the farewell.
func (l *Loop) quitTime() time.Duration { return min(l.closeTimeout(), closeWait) }

func (l *Loop) lingerTime() time.Duration {
	if l.linger == 0 {
		return lingerTime
	}
	return l.linger
}

func (l *Loop) maxQueue() int { return setting.Or(l.MaxQueue, 1<<20, math.MaxInt) }

// maxReplies bounds the queued answers of the codec itself, such as pongs. Beyond it nothing is
// read from the peer.
func (l *Loop) maxReplies() int {
	if l.MaxQueue < 0 {
		return math.MaxInt
	}
	return min(l.maxQueue(), 64<<10)
}

func (l *Loop) budget() *handlers.Budget { return cmp.Or(l.Budget, &l.own) }

// deaf reports whether a write failed with err because the peer reads no more. What the peer has
// sent before may still be complete.
func deaf(err error) bool {
	for _, e := range []error{syscall.EPIPE, syscall.ENOTCONN, io.ErrClosedPipe, net.ErrClosed} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// errLost ends a connection whose peer has closed its side and accepts no more data.
var errLost = fmt.Errorf("write: %w", syscall.EPIPE)
