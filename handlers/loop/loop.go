// Package loop drives attached connections: it reads, has the codec decode, raises the events and
// writes the replies.
//
// There are two drivers behind one interface. The epoll driver, on Linux, keeps a connection as a
// bare descriptor: an idle one has no goroutine, buffer or timer. The goroutine driver has a
// goroutine for each connection and works anywhere; it also drives what has no descriptor.
//
// The port drives its clients with one loop; a handler that works without a port, as a server or
// client of its own, has another. Programs do not need the package: what it offers may change with
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
	"github.com/portluck/portluck/handlers/internal/tasks"
)

// Bounds of every connection.
const (
	flushAt    = 64 << 10 // replies of one turn that are sent before the turn ends
	lingerTime = time.Second
	lingerMax  = 256 << 10 // unread bytes swallowed so that the last reply is not lost by a reset
	closeWait  = 5 * time.Second
	// quiet is how long a peer must have been silent for its connection to be ended by a shutdown.
	quiet = 20 * time.Millisecond
	// never is a bound that is not reached: none.
	never = 100 * 365 * 24 * time.Hour
)

// Events is what a connection tells its client. One goroutine at a time calls it.
type Events interface {
	// Connect announces the client: at once, or when the codec's handshake is complete.
	Connect(info *handlers.Info) error
	// Message delivers one message. The error ends the connection.
	Message(m handlers.Message) error
	// Disconnect is called once, at the end, whether the client was connected or not.
	Disconnect(err error)
}

// A Waker is an Events that also handles wake-ups requested with [Conn.Wake].
type Waker interface {
	Events
	// Woken is called after [Conn.Wake], perhaps too early or too often, in turn with the other
	// events. idle is how long no byte has come or gone. It may set m.Hijack, and returns when it is
	// to be called again; not at all if zero.
	Woken(idle time.Duration, m *handlers.Messages) (again time.Duration)
}

// A PanicLogger is Events that log the panic of their connection's codec; [Loop.Panicked] does it
// for others.
type PanicLogger interface {
	Events
	// LogPanic is called with a *[handlers.PanicError].
	LogPanic(err error)
}

// A Host is a port that lends its loop to handlers whose clients are not the port's.
type Host interface {
	handlers.Port
	Loop() *Loop
}

// A Conn is a driven connection. Its [handlers.Stream] may be used by any goroutine.
type Conn interface {
	handlers.Stream
	// Start admits the connection to the loop. The caller must call run, once, in a goroutine that
	// it can spare: it returns when the connection is driven by another, or has ended. It is nil
	// when the loop is closing and the connection was closed.
	Start(ev Events) (run func())
	// StartParked announces the client and then parks the connection, unless the program has
	// written by then. A parked connection that is written to, ended, destroyed or halted is taken
	// back and driven with the codec that it has.
	StartParked(ev Events, p Parking)
	// Adopt drives a parked connection with codec: it has turned out to be of the kind that it was
	// announced as.
	Adopt(codec handlers.Codec)
	// Retire ends the client of a parked connection, which goes on as something else. It is false
	// when the connection must be closed instead, because the client has been sent something.
	Retire() bool
	// Expire closes a parked connection for err.
	Expire(err error)
	// Queued is how many bytes wait for the peer to read. It is not ok when nothing can be written
	// any more.
	Queued() (n int, ok bool)
	// Drain calls f.Drained once the queue is empty or the connection is broken. It returns false,
	// without calling f, if it already is.
	Drain(f Drainer) bool
	// Quit ends the connection for err: the farewell for that follows what is queued, and the
	// connection is closed within 5 seconds, also when the peer takes none of it. Nothing can be
	// sent any more.
	Quit(err error)
	// LogPanic has a panic of one of the program's callbacks logged, as [Loop.Panicked] has it, if
	// err is one. Those that the connection's events return need not be told.
	LogPanic(err error)
	// Framing is how the connection's messages are framed now; nil if only its codec knows.
	Framing() handlers.Framing
	// Flush sends what the peer's side takes of the queue, also within a callback: what that writes
	// waits for its end otherwise.
	Flush()
	// Pause stops reading: once the buffers between are full the peer has to wait. What was read
	// before is still delivered by the Decode that is running.
	Pause()
	// Resume goes on reading after Pause.
	Resume()
	// Wake has [Waker.Woken] called, if the connection's events are a Waker, when d has passed, or
	// earlier. It may be called from Start on.
	Wake(d time.Duration)
	// SetNoDelay is [net.TCPConn.SetNoDelay]. It does nothing where there is no TCP.
	SetNoDelay(on bool) error
	// SetKeepAlive turns TCP's probes on or off, the first of them after the connection was idle
	// for this long, to the next second; unchanged if zero. It does nothing where there is no TCP.
	SetKeepAlive(on bool, idle time.Duration) error
	// Feed sends p, whole messages that are framed for this connection, as far as that can be done
	// at once, and returns how many bytes it has taken: whole messages, and none while something is
	// queued. When that is not all, f is told once that nothing is queued any more, or that nothing
	// can be sent. p is not kept. The error is [handlers.ErrClosed].
	Feed(p []byte, f FrameSource) (n int, err error)
}

// A Drainer waits until a connection has nothing queued any more: [Conn.Drain] and [Conn.Feed] call
// Drained then.
type Drainer interface{ Drained() }

// A FrameSource knows where the messages end that it gives to [Conn.Feed].
type FrameSource interface {
	Drainer
	// End is the least end of a message that is not less than n.
	End(n int) int
}

// Parking is where a connection waits that has not shown its protocol, but whose client is
// announced. While it is parked the loop does not read it and spends no goroutine on it.
type Parking interface {
	// Park takes the connection. From then on it may be adopted, retired or expired at any moment.
	Park()
	// Take gives the connection back. It is false when the parking is about to adopt, retire or
	// expire it.
	Take() bool
}

// Tasks are the goroutines of one owner, who waits for them.
type Tasks = tasks.Group

// A Driver is a way to drive connections.
type Driver int

const (
	// Auto is Epoll where there is one, for the connections that have a descriptor, else
	// Goroutines.
	Auto Driver = iota
	// Goroutines has a goroutine for each connection.
	Goroutines
)

// A Loop drives connections. Its fields are set before the first New. Its methods may be called by
// any goroutine.
type Loop struct {
	// Driver is Auto unless it is set.
	Driver Driver
	// Timeout is how long a connection may be idle; none if zero or negative.
	Timeout time.Duration
	// HandshakeTimeout bounds the handshake of a codec that has one; none if zero or negative.
	HandshakeTimeout time.Duration
	// MessageTimeout is how long a message may take from its first byte to its last; none if zero
	// or negative. The client is ended with [handlers.ErrTimeout].
	MessageTimeout time.Duration
	// PingInterval is how long the peer of a codec that is a [handlers.Pinger] may send nothing
	// until it is pinged, up to an eighth more, so that those that came together are not pinged
	// together; none is if zero or negative. The client is ended with [handlers.ErrTimeout] when
	// for as long again no byte has come and none was taken.
	PingInterval time.Duration
	// CloseTimeout is how long a connection that has ended may take to send what is queued; 5
	// seconds if zero, no bound if negative. It bounds the wait for the answer to a farewell too,
	// which is 5 seconds at the most.
	CloseTimeout time.Duration
	// MaxQueue is how many bytes may wait for a client that does not read; 1 MiB if zero, no bound
	// if negative.
	MaxQueue int
	// Budget bounds the memory of messages that are not whole, for all clients together; one of the
	// loop's own if nil.
	Budget *handlers.Budget
	// Panicked, if not nil, is called with the *[handlers.PanicError] of what took a connection out
	// of the loop ([handlers.Messages]), or of a codec unless the connection's events are a
	// [PanicLogger]. Several goroutines may call it at once. Its own panic is dropped.
	Panicked func(err error)

	tasks  Tasks        // connections, and what is done for them in goroutines
	n      atomic.Int64 // connections
	shards shards
	own    handlers.Budget // without Budget

	linger time.Duration // what lingerTime is, if it is not zero; for tests

	mu      sync.Mutex
	closing bool                   // no connection gets in any more
	closed  bool                   // none gets out, either
	conns   map[*goConn]struct{}   // of the goroutine driver
	hijacks map[*hijacked]struct{} // that have left, and are not closed yet
}

// New prepares c for being driven. Nothing happens before [Conn.Start].
func (l *Loop) New(c handlers.Conn, a handlers.Attachment) Conn {
	if a.Info == nil {
		a.Info = c.Info()
	}
	if l.Driver == Auto {
		if fc := l.newPolled(c, a); fc != nil {
			return fc
		}
	}
	return l.newGoConn(c, a)
}

// ender is what shutting down asks of a connection.
type ender interface {
	halt()             // ends soon: what the peer has sent already is still served
	abort(cause error) // ends now
}

// Shutdown says goodbye to every connection, in an even flow over spread, and waits for all of them
// to end. When ctx ends first it closes what is left and returns the error of ctx, without waiting
// for callbacks that do not return. No connection can be started after.
func (l *Loop) Shutdown(ctx context.Context, spread time.Duration) error {
	all := l.refuse()
	for i, c := range all {
		if spread > 0 && i > 0 && i%16 == 0 {
			pause(ctx, spread*16/time.Duration(len(all)))
		}
		c.halt()
	}
	err := l.tasks.Wait(ctx)
	if err != nil {
		l.Close()
	}
	return err
}

// Close closes every connection at once. It does not wait for the callbacks.
func (l *Loop) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	for _, c := range l.refuse() {
		c.abort(handlers.ErrShutdown)
	}
}

// Wait waits until every connection has ended, and what was begun for them.
func (l *Loop) Wait() { _ = l.tasks.Wait(context.Background()) }

// Len returns how many connections are driven now.
func (l *Loop) Len() int { return int(l.n.Load()) }

// refuse lets no connection in any more, and returns those that there are.
func (l *Loop) refuse() []ender {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closing = true
	all := make([]ender, 0, l.Len())
	for c := range l.conns {
		all = append(all, c)
	}
	for d := range l.hijacks {
		all = append(all, d)
	}
	return l.shards.refuse(all)
}

// admitted counts a connection that the caller has put where refuse finds it.
func (l *Loop) admitted() {
	l.tasks.Add()
	l.n.Add(1)
}

// left is the end of a connection.
func (l *Loop) left() {
	l.n.Add(-1)
	l.tasks.Done()
}

func (l *Loop) closeTimeout() time.Duration {
	if l.CloseTimeout < 0 {
		return never
	}
	return cmp.Or(l.CloseTimeout, closeWait)
}

// quitTime bounds the end of a connection whose peer may not answer, or not read, the farewell.
func (l *Loop) quitTime() time.Duration { return min(l.closeTimeout(), closeWait) }

func (l *Loop) lingerTime() time.Duration {
	if l.linger == 0 {
		return lingerTime
	}
	return l.linger
}

func (l *Loop) maxQueue() int {
	if l.MaxQueue < 0 {
		return math.MaxInt
	}
	return cmp.Or(l.MaxQueue, 1<<20)
}

// maxReplies bounds what a codec has answered, such as pongs, and its peer has not taken: nothing
// more is read of that until it does.
func (l *Loop) maxReplies() int {
	if l.MaxQueue < 0 {
		return math.MaxInt
	}
	return min(l.maxQueue(), 64<<10)
}

func (l *Loop) budget() *handlers.Budget { return cmp.Or(l.Budget, &l.own) }

// deaf reports whether a write has failed because the peer reads no more. What it has sent before
// may still be whole: it gets RST for what comes after it has closed.
func deaf(err error) bool {
	for _, e := range []error{syscall.EPIPE, syscall.ENOTCONN, io.ErrClosedPipe, net.ErrClosed} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// errLost is why a connection ends whose peer has sent its last and takes nothing any more.
var errLost = fmt.Errorf("write: %w", syscall.EPIPE)

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
