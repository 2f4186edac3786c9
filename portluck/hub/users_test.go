package hub

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/portluck/portluck/handlers"
)

// login makes a client of h with a login.
func login(h *Hub, l *handlers.Login) *Client {
	b := h.binding.Load()
	if b == nil {
		b = Bind(h, nil, false)
	}
	c, err := b.Connect(&handlers.Info{Protocol: handlers.ProtocolTCP, Login: l}, &sink{room: -1})
	if err != nil {
		panic(err)
	}
	return c.(*Session).Client()
}

// A user is there as long as one of its clients is.
func TestUsers(t *testing.T) {
	h := &Hub{}
	a1, b := login(h, &handlers.Login{User: "a"}), login(h, &handlers.Login{User: "b"})
	a2, nobody := login(h, &handlers.Login{User: "a"}), login(h, nil)
	if a1.User() != "a" || b.User() != "b" || nobody.User() != "" {
		t.Errorf("users %q, %q, %q", a1.User(), b.User(), nobody.User())
	}
	users := func() []string { return slices.Sorted(h.Users()) }
	if got := users(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("Users() = %q", got)
	}
	if got := h.UserClients("a"); !slices.Equal(got, []*Client{a1, a2}) {
		t.Errorf("UserClients(a) = %v", got)
	}
	(*Session)(a1).SetInfo(&handlers.Info{}) // such as after a PROXY header
	if a1.User() != "a" {
		t.Errorf("User() = %q after SetInfo", a1.User())
	}
	(*Session)(a1).Disconnect(nil)
	if got := h.UserClients("a"); !slices.Equal(got, []*Client{a2}) {
		t.Errorf("UserClients(a) = %v", got)
	}
	(*Session)(a2).Disconnect(nil)
	(*Session)(nobody).Disconnect(nil)
	if got := users(); !slices.Equal(got, []string{"b"}) {
		t.Errorf("Users() = %q", got)
	}
	for range h.Users() {
		break
	}
}

// KickUser ends every client of the user, and no other, until ctx ends.
func TestKickUser(t *testing.T) {
	ends := map[*Client]error{}
	h := &Hub{OnDisconnect: func(c *Client, err error) { ends[c] = err }}
	a1, a2, b := login(h, &handlers.Login{User: "a"}), login(h, &handlers.Login{User: "a"}), login(h, &handlers.Login{User: "b"})
	why := errors.New("why")
	if n, err := h.KickUser(t.Context(), "a", why); n != 2 || err != nil {
		t.Errorf("KickUser(a) = %d, %v", n, err)
	}
	for _, c := range []*Client{a1, a2, b} { // as their port does
		(*Session)(c).Disconnect(nil)
	}
	if ends[a1] != why || ends[a2] != why || ends[b] != nil {
		t.Errorf("ends %v", ends)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	login(h, &handlers.Login{User: "a"})
	if n, err := h.KickUser(over, "a", why); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("KickUser(a) = %d, %v after its ctx", n, err)
	}
}

// Client finds those that were there before its first call, and those that come later, until they
// go.
func TestClientByID(t *testing.T) {
	h := &Hub{}
	a := login(h, nil)
	if h.Client(a.ID()) != a || h.Client(a.ID()+1) != nil {
		t.Error("the first client was not found, or one that is not there")
	}
	b := login(h, nil)
	if h.Client(b.ID()) != b {
		t.Error("the second client was not found")
	}
	(*Session)(a).Disconnect(nil)
	if h.Client(a.ID()) != nil || len(h.byID) != 1 {
		t.Error("a client that has gone was found")
	}
}

// A login that ends takes its client with it.
func TestLoginExpires(t *testing.T) {
	h := &Hub{}
	c := login(h, &handlers.Login{Expires: time.Now().Add(-time.Second)})
	eventually(t, "the client was kicked", func() bool {
		cause := c.who.Load().cause
		return cause != nil && errors.Is(*cause, handlers.ErrExpired)
	})
	later := login(h, &handlers.Login{Expires: time.Now().Add(time.Hour)})
	(*Session)(later).Disconnect(nil)
	if later.who.Load().attrs.expiry.Stop() {
		t.Error("the timer of a client that has gone still ran")
	}
}

// A key has a value for each client, of its own type, from its handshake until the client is
// collected. Another key is another value.
func TestKey(t *testing.T) {
	var name, other Key[string]
	var fault Key[error]
	shake := &handlers.Handshake{Info: &handlers.Info{}}
	name.Set(shake, "from the handshake")
	if got, ok := name.Get(shake); got != "from the handshake" || !ok {
		t.Errorf("Get() = %q, %t", got, ok)
	}
	other.Set(shake, "gone")
	other.Delete(shake)
	h := &Hub{}
	c := login(h, shake.Login())
	if got, ok := name.Get(c); got != "from the handshake" || !ok {
		t.Errorf("Get() = %q, %t", got, ok)
	}
	if _, ok := other.Get(c); ok {
		t.Error("a key that was deleted, or another one, has a value")
	}
	fault.Set(c, nil)
	if err, ok := fault.Get(c); err != nil || !ok {
		t.Errorf("Get() of nil = %v, %t", err, ok)
	}
	(*Session)(c).Disconnect(nil)
	name.Set(c, "late")
	if got, _ := name.Get(c); got != "late" {
		t.Errorf("Get() = %q after the end", got)
	}
	name.Delete(c)
	if _, ok := name.Get(c); ok {
		t.Error("a value was there after Delete")
	}
	free := login(h, nil)
	name.Delete(free)
	if _, ok := name.Get(free); ok || free.who.Load().attrs != nil {
		t.Error("asking a client for a value has cost memory")
	}
}

// Context ends before OnDisconnect, with its error.
func TestContext(t *testing.T) {
	why := errors.New("why")
	var c *Client
	h := &Hub{OnDisconnect: func(c *Client, _ error) {
		if ctx := c.Context(); context.Cause(ctx) != why {
			t.Errorf("in OnDisconnect the cause is %v", context.Cause(ctx))
		}
	}}
	c = login(h, nil)
	ctx := c.Context()
	if ctx.Err() != nil || c.Context() != ctx {
		t.Errorf("Context() = %v", ctx)
	}
	(*Session)(c).Disconnect(why)
	if context.Cause(ctx) != why {
		t.Errorf("the cause is %v, want %v", context.Cause(ctx), why)
	}
	h.OnDisconnect = nil
	gone := login(h, nil)
	(*Session)(gone).Disconnect(why)
	if cause := context.Cause(gone.Context()); cause != handlers.ErrClosed {
		t.Errorf("the cause for a client that has gone is %v", cause)
	}
	clean := login(h, nil)
	ctx = clean.Context()
	(*Session)(clean).Disconnect(nil)
	if context.Cause(ctx) != context.Canceled {
		t.Errorf("the cause of a clean end is %v", context.Cause(ctx))
	}
}

// Users, values and contexts cost nothing for clients that have none.
func TestClientSize(t *testing.T) {
	if got := unsafe.Sizeof(Client{}); got > 80 {
		t.Errorf("a Client has %d bytes, want at most 80", got)
	}
}
