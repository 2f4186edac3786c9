package hub

import (
	"context"
	"sync"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/loop"
)

// A Log gets what happens to the clients of a server. Several goroutines call it at once. It must
// not block. Its LogError gets only panics of the program's code.
type Log interface {
	handlers.ErrorLogger
	// Connected is called before OnConnect.
	Connected(s *Session)
	// Disconnected is called before OnDisconnect. t is nil if the [Binding] counts no traffic.
	Disconnected(s *Session, t *Traffic, err error)
	// Failed is called before OnError, for a session that ended before it connected.
	Failed(info *handlers.Info, err error)
}

// A Binding connects a hub with one server. The server makes a [Session] with it for each client.
// Any goroutine may call its methods.
type Binding struct {
	hub    *Hub
	log    Log
	meters *sync.Map // of *Client to *meter; nil unless traffic is counted

	tasks loop.Tasks // callbacks about clients that are slow
	once  sync.Once  // of Wait
}

// Bind connects h with a server that logs to l. If l is nil, only panics are logged, by
// [handlers.LogPanic]. With traffic the binding counts what each client sends and is sent, which
// costs memory for each client. Panics of callbacks that belong to no client go to the log of the
// first binding of h.
func Bind(h *Hub, l Log, traffic bool) *Binding {
	b := &Binding{hub: h, log: l}
	if traffic {
		b.meters = &sync.Map{}
	}
	h.bound.Add(1)
	h.binding.CompareAndSwap(nil, b)
	return b
}

// Wait is the last step of a shutdown, after the server's clients have gone. It returns when the
// last callback about them has returned. If no other server uses the hub, it also waits until the
// hub has stopped delivering and has given everything to the backplane. When ctx ends first it
// returns the error of ctx. It may be called again.
func (b *Binding) Wait(ctx context.Context) error {
	b.once.Do(func() { b.hub.bound.Add(-1) })
	if err := b.tasks.Wait(ctx); err != nil || b.hub.bound.Load() > 0 {
		return err
	}
	return b.hub.tasks.Wait(ctx)
}

// Admits reports whether the hub has an OnHandshake.
func (b *Binding) Admits() bool { return b.hub.OnHandshake != nil }

// Admit calls OnHandshake and returns its error; nil if there is no OnHandshake. It logs a panic
// and returns [handlers.ErrPanic]. If OnHandshake ends its goroutine, Admit calls exited instead of
// returning.
func (b *Binding) Admit(ctx context.Context, h *handlers.Handshake, exited func(err error)) (err error) {
	if !b.Admits() {
		return nil
	}
	failed := func(err error) { b.panicked(h.Info, err) }
	panicked := handlers.GuardExit(func() { err = b.hub.OnHandshake(ctx, h) }, func(err error) {
		failed(err)
		exited(handlers.ErrPanic)
	})
	if panicked != nil {
		failed(panicked)
		return handlers.ErrPanic
	}
	return err
}

// NewSession makes a client that is not connected yet: it may join rooms, but raises no events.
// What is sent to it goes to s. The caller must not change info from then on.
func (b *Binding) NewSession(info *handlers.Info, s handlers.Stream) *Session {
	id := b.hub.lastID.Add(1)
	if _, driven := s.(loop.Conn); !driven && (info.Request != nil || info.TLS != nil || info.Head != "") {
		c := &struct { // one allocation: no other client has this info
			Client
			identity
		}{Client{stream: s, id: id}, identity{binding: b, info: info}}
		c.who.Store(&c.identity)
		return (*Session)(&c.Client)
	}
	c := &Client{stream: s, id: id, remote: compact(info.Remote)} // Connect may replace the info
	c.setInfo(b, info)
	return (*Session)(c)
}

// Connect makes a client and raises its OnConnect, as [handlers.Port.Connect] does. If the callback
// panics, Connect raises OnDisconnect and returns [handlers.ErrPanic].
func (b *Binding) Connect(info *handlers.Info, stream handlers.Stream) (handlers.Client, error) {
	s := b.NewSession(info, stream)
	var err error
	_ = handlers.GuardExit(func() { err = s.Connect(nil) }, s.Disconnect)
	if err != nil {
		s.Disconnect(err)
		return nil, err
	}
	return s, nil
}

// Fail raises OnError for a connection or a request that failed before it became a client. It logs
// only a panic of OnError. It does nothing if err is nil.
func (b *Binding) Fail(info *handlers.Info, err error) {
	if b.hub.OnError != nil && err != nil {
		b.panicked(info, handlers.Guard(func() { b.hub.OnError(info, err) }))
	}
}

// panicked logs err if it is a panic. b may be nil.
func (b *Binding) panicked(info *handlers.Info, err error) {
	if b == nil || b.log == nil {
		handlers.LogPanic(nil, info, err)
		return
	}
	handlers.LogPanic(b.log, info, err)
}
