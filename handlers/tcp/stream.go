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

// Events is what a [Stream] tells the program; what is nil is not told. One event of a stream is
// told at a time, in order; those of different streams come at once. Several streams may have the
// same Events. A callback may block, which keeps its own stream only; one that panics ends its
// stream with [handlers.ErrPanic].
type Events struct {
	// OnConnect says that the stream is open.
	OnConnect func(s *Stream)
	// OnSecure says that the TLS handshake is complete.
	OnSecure func(s *Stream)
	// OnData has what the peer sent, in the encoding of [Stream.SetEncoding]. data is valid until
	// it returns. Without it what the peer sends is dropped.
	OnData func(s *Stream, data []byte)
	// OnEnd says that the peer has sent its last: FIN, or the close_notify of TLS. It may still be
	// written to; unless AllowHalfOpen is set the stream ends itself after it.
	OnEnd func(s *Stream)
	// OnTimeout says that the stream was idle for as long as [Stream.SetTimeout] has said. It stays
	// open.
	OnTimeout func(s *Stream)
	// OnDrain says that all has gone of which some was queued ([Stream.Write]).
	OnDrain func(s *Stream)
	// OnError says why the stream is about to be closed. OnClose follows.
	OnError func(s *Stream, err error)
	// OnClose is the last event of a connection. The stream may then be used for another one, also
	// by OnClose.
	OnClose func(s *Stream, hadError bool)
}

// ReadyState is what can be done with a [Stream].
type ReadyState int

// The states of a stream. Its text is Node's.
const (
	Closed    ReadyState = iota // no connection
	Opening                     // Dial is running; what is written waits
	Open                        // both sides may write
	ReadOnly                    // we have ended
	WriteOnly                   // the peer has ended
)

// String returns "closed", "opening", "open", "readOnly" or "writeOnly".
func (r ReadyState) String() string {
	return [...]string{"closed", "opening", "open", "readOnly", "writeOnly"}[r]
}

// A Stream is a connection: one that a [Server] has accepted, or one that the program opens with
// [Stream.Dial] or [Stream.Open]. Its zero value is a closed one. Its methods may be called by any
// goroutine at any time, also from its events; none but Dial and ReadFrom waits for the peer. An
// idle stream has no goroutine on Linux.
type Stream struct {
	// Events hears of the stream; a server's streams begin with the server's. It may be changed
	// while the stream is closed, by OnConnection, and by the stream's own events.
	Events *Events
	// AllowHalfOpen keeps the stream open when the peer has ended (OnEnd): the program must end it.
	// It may be changed as Events may.
	AllowHalfOpen bool
	// DialContext makes the connection of Dial; a [net.Dialer] does if nil. A panic in it is the
	// error of Dial.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// ConnectTimeout bounds Dial; 30 seconds if zero, no bound but its context if negative.
	ConnectTimeout time.Duration
	// HandshakeTimeout bounds the handshake of SetSecure; 10 seconds if zero, no bound if negative.
	HandshakeTimeout time.Duration

	mu      sync.Mutex
	conn    loop.Conn // nil unless it is driven
	loop    *loop.Loop
	lodging *lodging // of loop, or nil
	server  *Server  // that has accepted it, or nil
	remote  netip.AddrPort
	rare    *rare // nil while it is not needed

	state     state
	connected bool // OnConnect was told
	client    bool // it was opened by the program
	ended     bool // End was called, or the peer's end was answered
	fin       bool // the peer has ended
	destroyed bool // by the program
	paused    bool
	noDelay   bool
	securing  bool // SetSecure was called: nothing is read in the clear any more
	moving    bool // it has left the loop for the handshake
	counted   bool // by server
	draining  bool // the loop, or the stream, will tell when nothing is queued
	drained   bool // OnDrain is due
}

type state uint8

const (
	stateClosed state = iota
	stateOpening
	stateOpen
)

// rare is what most streams do not need.
type rare struct {
	cancel  context.CancelFunc   // of Dial, or of the handshake
	pending []byte               // written before there is somebody to write it
	room    chan struct{}        // closed when nothing is queued; nil while nobody waits
	before  []chan struct{}      // closed when OnClose of the connections before has returned
	transit net.Conn             // during the handshake
	config  *tls.Config          // of SetSecure
	secure  *tls.Conn            // after it
	outside *tls.ConnectionState // of a port that has made the handshake
	text    *decoder             // nil for Bytes
	watch   *watch               // of SetTimeout
	keep    *keepAlive           // of SetKeepAlive
	err     error                // of a callback
}

// keepAlive is what SetKeepAlive was told.
type keepAlive struct {
	on   bool
	idle time.Duration
}

// rareLocked is the stream's rare, from now on.
func (s *Stream) rareLocked() *rare {
	if s.rare == nil {
		s.rare = new(rare)
	}
	return s.rare
}

// ReadyState says what can be done with the stream now.
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

// RemoteAddress is the peer's address and port, also after the stream was closed. It is zero on a
// Unix socket.
func (s *Stream) RemoteAddress() netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.remote
}

// Server is the server that has accepted the stream, also after it was closed; nil for a client.
func (s *Stream) Server() *Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.server
}

// Pause stops reading: once the buffers between are full the peer has to wait. Also OnEnd waits.
func (s *Stream) Pause() { s.pause(true) }

// Resume goes on reading after Pause.
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

// SetNoDelay has each write sent at once. Without it small ones wait for what was sent before to
// arrive (Nagle's algorithm, RFC 896), as long as the stream is TCP. It holds for the stream's
// later connections too.
func (s *Stream) SetNoDelay(on bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noDelay = on
	if s.conn == nil {
		return nil
	}
	return s.conn.SetNoDelay(on)
}

// SetKeepAlive turns TCP's probes on or off, the first of them after the stream was idle for
// initialDelay, to the next second; as it was if zero. Without it the first comes after 15 seconds.
// It holds for the stream's later connections too, and does nothing on a Unix socket.
func (s *Stream) SetKeepAlive(on bool, initialDelay time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rareLocked().keep = &keepAlive{on, max(initialDelay, 0)}
	if s.conn == nil {
		return nil
	}
	return s.conn.SetKeepAlive(on, max(initialDelay, 0))
}

// Destroy closes the stream at once: what is queued, and the peer's side does not take at once, is
// lost, and nothing more is read. OnClose follows, without an error.
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

// fail destroys the stream for an error of the program's.
func (s *Stream) fail(err error) {
	s.mu.Lock()
	if x := s.rareLocked(); x.err == nil {
		x.err = err
	}
	s.mu.Unlock()
	s.Destroy()
}

var _ handlers.Codec = (*driven)(nil)
