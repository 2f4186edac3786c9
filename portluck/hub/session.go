package hub

import (
	"errors"
	"fmt"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/loop"
)

// A Session is a [Client] as its port sees it: whoever drives the client's connection raises the
// client's events with it. It is a type of its own so that programs, which have the Client, cannot
// raise events. One goroutine at a time may call SetInfo, Connect, Message and Disconnect; any
// goroutine may call the other methods.
type Session Client

var (
	_ handlers.Client  = (*Session)(nil)
	_ loop.PanicLogger = (*Session)(nil)
)

// Client returns the client.
func (s *Session) Client() *Client { return (*Client)(s) }

// Route returns the name of the route that took the client's connection.
func (s *Session) Route() string { return s.Client().who.Load().info.Route }

// SetInfo replaces the client's Info.
func (s *Session) SetInfo(info *handlers.Info) {
	c := s.Client()
	c.setInfo(c.binding(), info)
}

// Connect raises OnConnect. info replaces the client's Info, unless it is nil. Connect returns
// [handlers.ErrPanic] if the callback panics; the caller then calls Disconnect. A callback that
// calls [runtime.Goexit] ends the goroutine, see [handlers.GuardExit].
func (s *Session) Connect(info *handlers.Info) error {
	c := s.Client()
	if info == nil {
		return c.connect()
	}
	b := c.binding()
	if info.Request == nil {
		c.setInfo(b, info)
		return c.connect()
	}
	c.setIdentity(&identity{binding: b, info: info}) // OnConnect gets this Request
	err := c.connect()
	c.setInfo(b, info)
	return err
}

// AskJoin asks OnJoin whether the client may join r, for a client that wants to. If not, it returns
// an error for [handlers.FarewellOf].
func (s *Session) AskJoin(r *Room) (err error) {
	c := s.Client()
	h := c.hub()
	if h.OnJoin == nil {
		return nil
	}
	if panicked := c.guard(func() { err = h.OnJoin(r, c) }); panicked != nil || err == nil {
		return panicked
	}
	if _, ok := handlers.FarewellOf(err); !ok {
		return fmt.Errorf("join: %w: %w", handlers.ErrPolicy, err)
	}
	return fmt.Errorf("join: %w", err)
}

// Message raises OnMessage; see [handlers.Client].
func (s *Session) Message(m handlers.Message) error {
	c := s.Client()
	h := c.hub()
	switch cause := c.who.Load().cause; {
	case c.gone:
		return handlers.ErrClosed
	case cause != nil: // whoever drives the client ends it for this, if Kick has not yet
		return *cause
	case h.OnMessage == nil:
		return nil
	}
	c.received(len(m.Data))
	return c.guard(func() { h.OnMessage(m, c.Writer(), c) })
}

// Disconnect raises OnDisconnect, or OnError if the client never connected; see [handlers.Client].
// If Kill has ended the client, the callback gets the error of Kill instead of err. The second call
// does nothing.
func (s *Session) Disconnect(err error) {
	c := s.Client()
	if c.gone {
		return
	}
	c.gone = true
	s.LogPanic(err) // a panic of the handler that drives the client
	if cause := c.who.Load().cause; cause != nil && !c.quits() {
		err = *cause
	}
	b := c.binding()
	if !c.connected {
		c.leaveRooms() // NewSession allows them
		c.endAttributes(err)
		if b.log != nil {
			b.log.Failed(c.Info(), err)
		}
		b.Fail(c.Info(), err)
		return
	}
	b.hub.remove(c)
	c.leaveRooms()
	c.endAttributes(err)
	t := b.measured(c)
	if b.log != nil {
		b.log.Disconnected(s, t, err)
	}
	if b.hub.OnDisconnect != nil {
		_ = c.guard(func() { b.hub.OnDisconnect(c, err) })
	}
}

// LogPanic logs err if it is a panic; see [loop.PanicLogger].
func (s *Session) LogPanic(err error) {
	if errors.Is(err, handlers.ErrPanic) { // Info may have to be made
		c := s.Client()
		c.binding().panicked(c.Info(), err)
	}
}

// Kill ends the client: its OnDisconnect gets err.
func (s *Session) Kill(err error) { s.Client().Kick(err) }
