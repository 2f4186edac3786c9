package tcp

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/loop"
)

// Events are the callbacks of a [Stream]; any of them may be nil. A stream calls one at a time, in
// the order of its events. Different streams call theirs concurrently, and may share one Events. A
// callback that blocks holds up its own stream only. One that panics ends its stream with
// [handlers.ErrPanic].
type Events struct {
	// OnConnect is called when the stream is open.
	OnConnect func(s *Stream)
	// OnSecure is called when the TLS handshake is complete.
	OnSecure func(s *Stream)
	// OnData is called with what the peer has sent, in the encoding of [Stream.SetEncoding]. data
	// is valid until OnData returns. If nil, what the peer sends is dropped.
	OnData func(s *Stream, data []byte)
	// OnEnd is called when the peer has ended its side: FIN, or the close_notify of TLS. It may
	// still write to the stream. Unless AllowHalfOpen is set, the stream ends itself after OnEnd.
	OnEnd func(s *Stream)
	// OnTimeout is called when the stream has been idle for the time of [Stream.SetTimeout]. The
	// stream stays open.
	OnTimeout func(s *Stream)
	// OnDrain is called when nothing is queued any more, after a [Stream.Write] that queued bytes.
	OnDrain func(s *Stream)
	// OnError is called with the reason why the stream is about to be closed. OnClose follows.
	OnError func(s *Stream, err error)
	// OnClose is the last event of a connection. From then on, and in OnClose too, the stream can
	// be opened again.
	OnClose func(s *Stream, hadError bool)
}

// A ReadyState tells what can be done with a [Stream].
type ReadyState int

// The states of a stream. String returns Node's names of them.
const (
	Closed    ReadyState = iota // no connection
	Opening                     // Dial is running; written bytes wait
	Open                        // both sides may write
	ReadOnly                    // we have ended
	WriteOnly                   // the peer has ended
)

// String returns "closed", "opening", "open", "readOnly" or "writeOnly".
func (r ReadyState) String() string {
	return [...]string{"closed", "opening", "open", "readOnly", "writeOnly"}[r]
}

// A Stream is a connection: one that a [Server] has accepted, or one that the program opens with
// [Stream.Dial] or [Stream.Open]. The zero value is a closed stream. Its methods may be called
// concurrently, also by its events. Only Dial and ReadFrom wait for the peer. On Linux an idle
// stream has no goroutine.
type Stream struct {
	// Events are the callbacks of the stream. Those of a server's stream are the server's at first.
	// Events may be changed while the stream is closed, by OnConnection, and by the stream's own
	// events.
	Events *Events
	// AllowHalfOpen keeps the stream open after OnEnd: the program must end it. It may be changed
	// when Events may.
	AllowHalfOpen bool
	// DialContext makes the connection of Dial; a [net.Dialer] makes it if nil. If it panics, Dial
	// fails with [handlers.ErrPanic].
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// ConnectTimeout bounds Dial; 30 seconds if zero, only the context bounds it if negative.
	ConnectTimeout time.Duration
	// HandshakeTimeout bounds the handshake of SetSecure; 10 seconds if zero, no bound if negative.
	HandshakeTimeout time.Duration

	mu     sync.Mutex
	conn   loop.Conn // nil unless it is driven
	loop   *loop.Loop
	shared *sharedLoop // of loop; nil in a port
	server *Server     // that has accepted the stream; nil for a client
	remote netip.AddrPort
	rare   *rare // nil while it is not needed

	state     state
	connected bool // OnConnect was called
	client    bool // the program has opened the stream
	ended     bool // End was called, or the stream ended itself after OnEnd
	fin       bool // the peer has ended
	destroyed bool // by the program
	paused    bool
	noDelay   bool
	securing  bool // from SetSecure to the end of the handshake: nothing is read in the clear
	moving    bool // the connection has left the loop for the handshake
	counted   bool // in the server's Connections
	draining  bool // bytes are queued: drainedLocked will be called when none are
	drained   bool // OnDrain is due, if nothing has been queued since
}

type state uint8

const (
	stateClosed state = iota
	stateOpening
	stateOpen
)

// rare has the fields that most streams do not need.
type rare struct {
	cancel  context.CancelFunc   // of Dial, or of the handshake
	pending []byte               // written while opening or during the handshake
	room    chan struct{}        // closed when nothing is queued; nil while no ReadFrom waits
	before  []chan struct{}      // closed when OnClose of an earlier connection has returned
	transit net.Conn             // the connection during the handshake
	config  *tls.Config          // from SetSecure
	secure  *tls.Conn            // after the handshake
	outside *tls.ConnectionState // if a port has made the handshake
	text    *decoder             // nil for Bytes
	watch   *watch               // from SetTimeout
	keep    *keepAlive           // from SetKeepAlive
	err     error                // of a callback that has panicked
}

// keepAlive has the arguments of SetKeepAlive.
type keepAlive struct {
	on   bool
	idle time.Duration
}

// rareLocked returns s.rare, which it makes if it is nil.
func (s *Stream) rareLocked() *rare {
	if s.rare == nil {
		s.rare = new(rare)
	}
	return s.rare
}

// ReadyState returns what can be done with the stream now.
func (s *Stream) ReadyState() ReadyState {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state == stateClosed || s.destroyed:
		return Closed
	case s.state == stateOpening:
		return Opening
	case s.ended && s.fin:
		if s.conn != nil {
			if n, ok := s.conn.Queued(); ok && n > 0 {
				return WriteOnly
			}
		}
		return Closed
	case s.ended:
		return ReadOnly
	case s.fin:
		return WriteOnly
	}
	return Open
}

// RemoteAddress returns the peer's address and port, also after the stream was closed. It is the
// zero AddrPort for a Unix socket.
func (s *Stream) RemoteAddress() netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.remote
}

// Server returns the server that accepted the stream, also after the stream was closed, or nil for
// a client.
func (s *Stream) Server() *Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.server
}

// Pause stops reading. Once the buffers of the network are full, the peer has to wait. OnEnd waits
// too.
func (s *Stream) Pause() { s.pause(true) }

// Resume starts to read again after Pause.
func (s *Stream) Resume() { s.pause(false) }

func (s *Stream) pause(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = on
	if s.conn == nil || s.securing {
		return
	}
	if on {
		s.conn.Pause()
		return
	}
	s.conn.Resume()
}

// SetNoDelay with true turns Nagle's algorithm (RFC 896) off: each write is sent at once. With the
// algorithm, which is on by default, a small write waits until the peer has acknowledged what was
// sent before. SetNoDelay does nothing on a Unix socket. The setting stays when the stream is
// opened again.
func (s *Stream) SetNoDelay(on bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noDelay = on
	if s.conn == nil {
		return nil
	}
	return s.conn.SetNoDelay(on)
}

// SetKeepAlive turns the probes of TCP on or off. The first one is sent when the stream has been
// idle for initialDelay, rounded up to seconds; zero leaves the delay as it is, which is 15 seconds
// by default. SetKeepAlive does nothing on a Unix socket. The setting stays when the stream is
// opened again.
func (s *Stream) SetKeepAlive(on bool, initialDelay time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rareLocked().keep = &keepAlive{on, max(initialDelay, 0)}
	if s.conn == nil {
		return nil
	}
	return s.conn.SetKeepAlive(on, max(initialDelay, 0))
}

// Destroy closes the stream at once. Queued bytes that the kernel does not take at once are lost,
// and nothing more is read. OnClose follows, without an error.
func (s *Stream) Destroy() {
	s.mu.Lock()
	conn := s.conn
	switch x := s.rare; {
	case s.state == stateClosed || s.destroyed:
		conn = nil
	case s.state == stateOpening:
		x.cancel()
	case s.moving:
		conn = nil
		if x.transit != nil {
			_ = x.transit.Close()
			x.cancel()
		}
	}
	s.destroyed = s.state != stateClosed
	s.mu.Unlock()
	if conn != nil {
		conn.Destroy()
	}
}

// fail destroys the stream; err is the error that OnError gets.
func (s *Stream) fail(err error) {
	s.mu.Lock()
	if x := s.rareLocked(); x.err == nil {
		x.err = err
	}
	s.mu.Unlock()
	s.Destroy()
}

var _ handlers.Codec = (*driven)(nil)
