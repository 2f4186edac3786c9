package udp

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/grace"
	"github.com/portluck/portluck/handlers/internal/setting"
	"github.com/portluck/portluck/handlers/internal/tasks"
)

// Protocol is the name of the protocol in [handlers.Info].
const Protocol = "udp"

// Errors of the package, in addition to those of package handlers.
var (
	// ErrServerClosed is returned by ServePacket after Shutdown or Close.
	ErrServerClosed = errors.New("udp: server closed")
	// ErrUnvalidated is returned by a send that would exceed three times what an unvalidated client
	// has sent: its address may be forged.
	ErrUnvalidated = errors.New("the client's address is not validated: it gets three times what it has sent at the most")
	// ErrEvicted is the reason of a client that was disconnected to make room for another.
	ErrEvicted = errors.New("the table of clients is full")
)

// A Server serves datagrams. Its zero value is ready to use. Set the fields before the first
// ServePacket, and do not change them afterwards. Any goroutine may call its methods.
type Server struct {
	// Lines removes one line end from each datagram, and adds one to each message that Send sends,
	// for people with nc -u. Write sends its bytes as they are.
	Lines bool
	// MessageLimit bounds the length of a datagram; no bound if zero or negative. A longer one is
	// dropped and reported to OnError.
	MessageLimit int
	// Timeout is how long a client may be silent before it is disconnected with [handlers.ErrTimeout];
	// 2 minutes if zero, for ever if negative. Datagrams that are sent to the client do not count, as
	// UDP does not tell whether they arrive.
	Timeout time.Duration
	// MaxClients bounds the clients; 65,536 if zero, no bound if negative. If the table is full, a new
	// client takes the place of an unvalidated one: the one that has been silent for longest among
	// those that have sent only one datagram, or, if there is none, among those that have been silent
	// for 10 seconds. A validated newcomer may also take the place of a validated client that has been
	// silent for RoomWindow. Otherwise the newcomer is dropped.
	MaxClients int
	// MaxWaiting is how many datagrams of a client may wait while its callback runs; 64 if zero,
	// 32,768 at most, also if negative. Further ones are dropped.
	MaxWaiting int
	// MaxBacklog is how many bytes of all clients may wait for callbacks; 16 MiB if zero, no bound if
	// negative. Datagrams beyond it are dropped.
	MaxBacklog int
	// MaxQueue is how many bytes may wait for a socket to take them; 1 MiB if zero, no bound if
	// negative. Beyond it Send returns [handlers.ErrSlow]; Send never waits.
	MaxQueue int
	// WriteTimeout is how long a socket may accept nothing before the queued datagrams are dropped; 1
	// second if zero, no bound if negative.
	WriteTimeout time.Duration
	// Batch is how many datagrams are read or written with one system call, on Linux; 32 if zero, 1 if
	// negative, 1,024 at most.
	Batch int
	// ReadBuffer is the size of the system's receive buffer, in bytes; 1 MiB if zero, the system's
	// default if negative.
	ReadBuffer int

	// Trusted lists networks whose routers drop datagrams with forged source addresses. Their clients
	// are validated. Loopback is always trusted.
	Trusted []netip.Prefix
	// RoomsTo lists the networks, besides loopback, whose clients get room traffic.
	RoomsTo []netip.Prefix
	// RoomWindow is how long a client gets room traffic after its last datagram; 1 minute if zero,
	// until it is disconnected if negative.
	RoomWindow time.Duration
	// UnvalidatedRate is how many bytes a second are sent to the unvalidated clients of one network, a
	// /24 of IPv4 or a /48 of IPv6; 64 KiB if zero, no bound if negative.
	UnvalidatedRate int
	// RefusePort reports whether to drop datagrams from a source port; [Reflector] if nil. It is
	// called for every datagram, and must return soon.
	RefusePort func(port uint16) bool

	// OnError is called for datagrams that are too long and for errors of the system. remote is not
	// valid if the error is not about one client. OnError must return soon, as the socket's clients,
	// perhaps in a Send, wait for it. The port logs the errors too, if it is a [handlers.ErrorLogger].
	OnError func(remote netip.AddrPort, err error)

	counters counters
	secret   secret
	rate     rate
	start    time.Time
	once     sync.Once
	tasks    tasks.Group // goroutines that read or raise events

	mu       sync.Mutex
	stopping bool // no sockets are admitted, and the open ones are not read any more
	closed   bool
	stop     chan struct{} // closed when stopping is set
	stopped  time.Time     // when stopping was set; written before stop is closed
	sockets  map[*socket]struct{}
	table    table
	backlog  int            // bytes that wait for callbacks
	expiry   *time.Timer    // calls expire; nil before the first client
	due      grace.Deadline // when expire is to be called
	// closed when there are no clients, for Shutdown; nil if nobody waits
	empty chan struct{}
}

var _ handlers.PacketHandler = (*Server)(nil)

// maxDatagram is at least the length of any datagram.
const maxDatagram = 65535

func (s *Server) timeout() time.Duration { return setting.Or(s.Timeout, 2*time.Minute, -1) }
func (s *Server) maxClients() int        { return setting.Or(s.MaxClients, 64<<10, math.MaxInt) }

func (s *Server) maxWaiting() int { return min(setting.Or(s.MaxWaiting, 64, mostWaiting), mostWaiting) }

func (s *Server) maxBacklog() int { return setting.Or(s.MaxBacklog, 16<<20, math.MaxInt) }
func (s *Server) maxQueue() int   { return setting.Or(s.MaxQueue, 1<<20, math.MaxInt) }
func (s *Server) writeTimeout() time.Duration {
	return setting.Or(s.WriteTimeout, time.Second, setting.Never)
}
func (s *Server) batch() int      { return min(setting.Or(s.Batch, 32, 1), 1024) }
func (s *Server) readBuffer() int { return setting.Or(s.ReadBuffer, 1<<20, -1) }
func (s *Server) roomWindow() time.Duration {
	return setting.Or(s.RoomWindow, time.Minute, setting.Never)
}
func (s *Server) unvalidatedRate() int { return setting.Or(s.UnvalidatedRate, 64<<10, -1) }

// mostWaiting is the most that client.waiting can count.
const mostWaiting = 1 << 15

func (s *Server) messageLimit() int {
	if s.MessageLimit <= 0 {
		return maxDatagram
	}
	return min(s.MessageLimit, maxDatagram)
}

func (s *Server) init() {
	s.once.Do(func() {
		s.start, s.stop = time.Now(), make(chan struct{})
		s.sockets = map[*socket]struct{}{}
		s.table.init()
		s.secret.init()
		s.rate.init(s.unvalidatedRate())
	})
}

// now returns the time since the start of the server.
func (s *Server) now() time.Duration { return time.Since(s.start) }

// ServePacket serves the datagrams of pc until Shutdown or Close, and then returns
// [ErrServerClosed], or until pc fails. It closes pc. It may be called for several sockets, whose
// clients share one table. A panic in a method of pc is a failure of pc.
func (s *Server) ServePacket(pc net.PacketConn, p handlers.Port) error {
	if handlers.IsNil(pc) {
		return errors.New("udp: ServePacket: the socket is nil")
	}
	s.init()
	k := newSocket(s, pc, p)
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		_ = k.pc.Close()
		return ErrServerClosed
	}
	s.sockets[k] = struct{}{}
	s.tasks.Go(k.read) // ends with pc, or when another goroutine takes over
	s.mu.Unlock()
	<-k.over
	if err := k.failure; err != nil {
		return fmt.Errorf("udp: %w", err)
	}
	return ErrServerClosed
}

// Shutdown stops the server gracefully: it reads what the system has received, serves it,
// disconnects every client with [handlers.ErrShutdown], sends what is queued, closes the sockets
// and returns nil. If ctx ends first, it closes everything at once and returns the error of ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	s.init()
	sockets := s.refuse()
	for _, k := range sockets {
		if k.pc.SetReadDeadline(time.Unix(1, 0)) != nil {
			k.dried.Do(func() { close(k.dry) }) // only closing pc would end its Read
		}
	}
	err := s.wind(ctx, sockets)
	if err != nil {
		_ = s.Close()
		return err
	}
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	for _, k := range sockets {
		k.close(nil)
	}
	return s.tasks.Wait(ctx)
}

// wind does what Shutdown does before it closes the sockets.
func (s *Server) wind(ctx context.Context, sockets []*socket) error {
	for _, k := range sockets {
		if err := k.awaitDry(ctx); err != nil {
			return err
		}
	}
	if err := tasks.Await(ctx, s.dismiss(handlers.ErrShutdown)); err != nil {
		return err
	}
	for _, k := range sockets {
		if err := tasks.Await(ctx, k.out.drained()); err != nil {
			return err
		}
	}
	return nil
}

// dryTime is how long a socket that the program has made may take to end a Read after its deadline
// has passed.
const dryTime = 5 * restTime

// awaitDry waits until the socket is not read any more. It gives up on a socket of the program
// after dryTime, as its deadlines may not work.
func (k *socket) awaitDry(ctx context.Context) error {
	if _, ok := k.pc.(guarded); !ok {
		return tasks.Await(ctx, k.dry)
	}
	t := time.NewTimer(dryTime)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-k.dry:
		return nil
	case <-ctx.Done():
		return tasks.Await(ctx, k.dry)
	}
}

// Close closes the sockets at once and disconnects every client with [handlers.ErrShutdown]. It
// does not wait for callbacks.
func (s *Server) Close() error {
	s.init()
	sockets := s.refuse()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	for _, k := range sockets {
		k.close(nil)
	}
	s.dismiss(handlers.ErrShutdown)
	return nil
}

// refuse stops admitting sockets, and returns those that are open.
func (s *Server) refuse() []*socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopping {
		s.stopping, s.stopped = true, time.Now()
		close(s.stop)
	}
	all := make([]*socket, 0, len(s.sockets))
	for k := range s.sockets {
		all = append(all, k)
	}
	return all
}

// dismiss disconnects every client with err. It returns a channel that is closed when all are gone.
func (s *Server) dismiss(err error) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := deliverWaiting
	if s.closed {
		w = dropWaiting
	}
	for _, c := range s.table.clients {
		c.leaveLocked(err, w)
	}
	if s.expiry != nil {
		s.expiry.Stop()
	}
	if s.empty == nil {
		s.empty = make(chan struct{})
		s.goneLocked()
	}
	return s.empty
}

// goneLocked is called after a client has gone.
func (s *Server) goneLocked() {
	if s.empty == nil || s.table.len() > 0 {
		return
	}
	select {
	case <-s.empty:
	default:
		close(s.empty)
	}
}
