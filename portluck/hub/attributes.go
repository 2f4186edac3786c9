package hub

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portluck/portluck/handlers"
)

// attributes holds what only some clients have. It is made when it is needed.
type attributes struct {
	login atomic.Pointer[handlers.Login] // nil for none

	mu     sync.Mutex // nothing is locked under it
	values map[any]any
	ctx    context.Context // of Context; nil before
	cancel context.CancelCauseFunc
	expiry *time.Timer // ends the client with its login; nil for none
	ended  bool        // the client has gone
	cause  error       // of its end
}

// attributes returns the attributes of c, which it makes if there are none.
func (c *Client) attributes() *attributes {
	fresh := &attributes{}
	for {
		old := c.who.Load()
		if old.attrs != nil {
			return old.attrs
		}
		own := *old
		own.attrs = fresh
		if c.who.CompareAndSwap(old, &own) {
			return fresh
		}
	}
}

// Value returns what SetValue has stored for key; nil if there is nothing. See [Key] for values
// with a type.
func (c *Client) Value(key any) any {
	a := c.who.Load().attrs
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.values[key]
}

// SetValue stores value for key, which must be comparable; nil removes it. A client that has gone
// keeps its values.
func (c *Client) SetValue(key, value any) {
	if value == nil && c.who.Load().attrs == nil {
		return
	}
	a := c.attributes()
	a.mu.Lock()
	defer a.mu.Unlock()
	if value == nil {
		delete(a.values, key)
		return
	}
	if a.values == nil {
		a.values = map[any]any{}
	}
	a.values[key] = value
}

// Context returns a context that ends when the client goes, before OnDisconnect runs, with the
// error that OnDisconnect gets as its cause, or [context.Canceled] if there is none; after Kick it
// ends at once. The first call for a client that has gone may return one whose cause is
// [handlers.ErrClosed].
func (c *Client) Context() context.Context {
	a := c.attributes()
	ctx, fresh := a.context()
	if !fresh {
		return ctx
	}
	if cause := c.who.Load().cause; cause != nil {
		a.cancelFor(*cause)
	} else if c.hasLeft() { // before there were attributes
		a.cancelFor(handlers.ErrClosed)
	}
	return ctx
}

// context returns the context, and whether this call has made it.
func (a *attributes) context() (ctx context.Context, fresh bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx != nil {
		return a.ctx, false
	}
	a.ctx, a.cancel = context.WithCancelCause(context.Background())
	if a.ended {
		a.cancel(a.cause)
	}
	return a.ctx, true
}

// hasLeft reports whether c has left all rooms for good.
func (c *Client) hasLeft() bool {
	h := c.hub()
	h.mu.Lock()
	defer h.mu.Unlock()
	return c.left
}

// endAttributes ends the context and the login of c, which has left its rooms, for err.
func (c *Client) endAttributes(err error) {
	a := c.who.Load().attrs
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended, a.cause = true, err
	if a.cancel != nil {
		a.cancel(err)
	}
	if a.expiry != nil {
		a.expiry.Stop()
	}
}

// cancelFor ends the context, if there is one, for err. a may be nil.
func (a *attributes) cancelFor(err error) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cancel != nil {
		a.cancel(err)
	}
}

// logIn gives c, which is about to connect, what its Login says, and returns its user.
func (c *Client) logIn() (user string) {
	l := c.who.Load().info.Login
	if l == nil {
		return ""
	}
	a := c.attributes()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.login.Store(l)
	if a.values == nil && len(l.Values) > 0 {
		a.values = map[any]any{}
	}
	maps.Copy(a.values, l.Values)
	if !l.Expires.IsZero() {
		a.expiry = time.AfterFunc(time.Until(l.Expires), func() { c.Kick(handlers.ErrExpired) })
	}
	return l.User
}

// User returns the client's user, as OnHandshake has set it; "" if it has none. A user may have
// several clients.
func (c *Client) User() string {
	who := c.who.Load()
	l := who.info.Login
	if a := who.attrs; a != nil && a.login.Load() != nil {
		l = a.login.Load() // the Info may have changed since
	}
	if l == nil {
		return ""
	}
	return l.User
}
