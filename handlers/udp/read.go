package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/portluck/portluck/handlers"
)

// socket is a socket that is served. One goroutine reads it and raises the events of what it has
// read; see runner.
type socket struct {
	srv   *Server
	port  handlers.Port
	pc    net.PacketConn
	wire  wire
	out   output
	in    []arrival // used by the goroutine that reads
	paths paths     // used by the goroutine that reads

	dried sync.Once
	dry   chan struct{} // closed when the socket is not read any more

	closing sync.Once
	over    chan struct{} // closed when pc is closed
	// failure is why pc was closed; nil for Shutdown and Close. It is set before over is closed.
	failure error

	// Guarded by Server.mu.
	ready, last *client     // the queue of clients whose callbacks are to run
	attended    bool        // some goroutine runs them, or is about to
	runner      *runner     // the goroutine that runs them
	seq         uint64      // the number of the last callback
	watch       *time.Timer // calls look; nil before the first callback
	watching    bool        // look will be called
	looked      uint64      // the callback that look saw running last time
}

func newSocket(s *Server, pc net.PacketConn, p handlers.Port) *socket {
	uc, isUDP := pc.(*net.UDPConn)
	if !isUDP {
		pc = guarded{pc}
	}
	k := &socket{srv: s, port: p, pc: pc, dry: make(chan struct{}), over: make(chan struct{})}
	k.out.socket = k
	k.paths.base = &path{socket: k, local: addrPort(pc.LocalAddr())}
	n := 1
	if isUDP {
		if size := s.readBuffer(); size > 0 {
			_ = uc.SetReadBuffer(size) // up to the system's limit
		}
		learn(uc, k.paths.base.local)
		if n = s.batch(); n > 1 {
			k.wire = newBatched(uc, n)
		}
		if k.wire == nil {
			n, k.wire = 1, &plain{uc, k.paths.base.local.Addr().Is6()}
		}
	} else {
		k.wire = &single{pc}
	}
	size := s.messageLimit() + 1 // one byte more, to notice a datagram that is too long
	buf := make([]byte, n*size)
	k.in = make([]arrival, n)
	for i := range k.in {
		k.in[i].buf = buf[i*size : (i+1)*size : (i+1)*size]
		k.in[i].oob = make([]byte, 0, oobSpace)
	}
	return k
}

// read reads until the socket fails, the server stops, or another goroutine takes over.
func (k *socket) read() {
	r := &runner{reader: true}
	_ = handlers.GuardExit(func() { k.readAll(r) }, func(err error) {
		if !r.ended { // a method of the socket has ended the goroutine
			k.close(err)
		}
	})
}

func (k *socket) readAll(r *runner) {
	s := k.srv
	var pause handlers.Backoff
	for k.work(r) {
		if s.isStopping() {
			k.rest(r)
			return
		}
		n, err := k.wire.read(k.in, false)
		switch {
		case err == nil:
			pause = 0
			k.take(k.in[:n])
			continue
		case s.isStopping():
			continue
		case !passes(err):
			k.close(err)
			return
		}
		s.counters.readErrors.Add(1)
		k.fail(netip.AddrPort{}, err)
		if isPeers(err) {
			continue
		}
		handlers.Pause(s.stop, pause.Next())
	}
}

// restTime bounds how long a shutdown goes on reading.
const restTime = time.Second

// rest reads what the system has received by the time of a shutdown.
func (k *socket) rest(r *runner) {
	for time.Since(k.srv.stopped) < restTime {
		n, err := k.wire.read(k.in, true)
		if err != nil {
			break
		}
		k.take(k.in[:n])
		if !k.work(r) {
			return // the goroutine that has taken over does the same
		}
	}
	k.dried.Do(func() { close(k.dry) })
}

func (s *Server) isStopping() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// take hands each datagram to its client. The caller then calls work, which raises the events.
func (k *socket) take(in []arrival) {
	s := k.srv
	now, limit := s.now(), s.messageLimit()
	bytes := 0
	var long []netip.AddrPort
	for i := range in {
		a := &in[i]
		bytes += a.n
		a.path = k.paths.of(a.oob)
		switch {
		case a.cut || a.n > limit:
			long = append(long, a.from)
			a.path = nil
		case s.refuses(key{a.from, a.path}):
			s.counters.refused.Add(1)
			a.path = nil
		}
	}
	s.mu.Lock()
	k.attended = true
	for i := range in {
		if in[i].path != nil && s.empty == nil { // otherwise every client was disconnected
			k.receiveLocked(&in[i], now)
		}
	}
	s.mu.Unlock()
	s.counters.received.Add(uint64(len(in)))
	s.counters.bytesIn.Add(uint64(bytes))
	for _, from := range long {
		s.counters.tooLong.Add(1)
		k.fail(from, fmt.Errorf("%w: a datagram of more than %d bytes", handlers.ErrTooLong, limit))
	}
}

// receiveLocked handles one datagram.
func (k *socket) receiveLocked(a *arrival, now time.Duration) {
	s := k.srv
	id := key{a.from, a.path}
	data := a.buf[:a.n]
	c := s.table.clients[id]
	if c != nil {
		s.hearLocked(c, now)
	} else if c = s.welcomeLocked(id, data, now); c == nil {
		s.counters.refused.Add(1)
		return
	}
	k.readyLocked(c)
	if c.level != validated {
		rest, ok := s.redeem(a.from, data)
		if ok {
			s.validateLocked(c)
		}
		if ok && len(rest) == 0 {
			return
		}
		k.out.credit(c, len(data))
		data = rest
	}
	s.waitLocked(c, data)
}

// welcomeLocked makes a client from its first datagram. It returns nil if there is to be none.
func (s *Server) welcomeLocked(id key, data []byte, now time.Duration) *client {
	if isQUIC(data) && !s.trusts(id.remote.Addr()) {
		return nil
	}
	return s.admitLocked(id, now)
}

// close closes the socket. If err is not nil, the socket has failed, and its clients are
// disconnected.
func (k *socket) close(err error) {
	k.closing.Do(func() {
		k.leave(err)
		k.out.close()
		k.failure = err
		_ = k.pc.Close()
		k.dried.Do(func() { close(k.dry) })
		close(k.over)
	})
}

// leave removes the socket from the server. If the socket has failed, its clients are disconnected.
func (k *socket) leave(err error) {
	s := k.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sockets, k)
	if err == nil {
		return
	}
	for _, c := range s.table.clients {
		if c.path.socket == k {
			c.leaveLocked(err, dropWaiting)
		}
	}
}

// isClosed reports whether err only means that the socket was closed.
func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }

// passes reports whether the socket can still be read after err.
func passes(err error) bool {
	var errno syscall.Errno
	var ne net.Error
	switch {
	case isClosed(err):
		return false
	case errors.As(err, &errno):
		return errno != syscall.EBADF && errno != syscall.EINVAL && errno != syscall.ENOTSOCK && errno != syscall.EFAULT
	}
	return errors.As(err, &ne) && ne.Timeout()
}

// isPeers reports whether err is not this side's fault: an ICMP message, or a datagram that did not
// fit (Windows).
func isPeers(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}
	switch errno {
	case syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EMSGSIZE:
		return true
	}
	const wsaEMsgSize, wsaENetReset, wsaEConnReset = 10040, 10052, 10054
	return runtime.GOOS == "windows" && (errno == wsaEMsgSize || errno == wsaENetReset || errno == wsaEConnReset)
}
