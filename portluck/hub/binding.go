package hub

import (
	"sync"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/loop"
)

// A Log writes down what happens to the clients of a server. Several goroutines call it at once; it
// must not block. LogError gets the panics of the program's code only.
type Log interface {
	handlers.ErrorLogger
	// Connected is called before OnConnect.
	Connected(s *Session)
	// Disconnected is called before OnDisconnect. t is nil if the server's [Binding] counts no
	// traffic.
	Disconnected(s *Session, t *Traffic, err error)
	// Failed is called before OnError, for a client that has ended before it was connected.
	Failed(info *handlers.Info, err error)
}

// A Binding connects a hub with one server, which brings the clients: it makes a [Session] of each.
// Any goroutine may call its methods.
type Binding struct {
	hub    *Hub
	log    Log
	meters *sync.Map // of *Client to *meter; nil unless traffic is counted
}

// Bind connects h with a server that logs to l; if l is nil, nothing is logged but panics, by
// [handlers.LogPanic]. With traffic the binding counts what each client sends and is sent, which
// takes more memory. The panics of callbacks that belong to no client go to the log of the first
// binding of h.
func Bind(h *Hub, l Log, traffic bool) *Binding {
	b := &Binding{hub: h, log: l}
	if traffic {
		b.meters = &sync.Map{}
	}
	h.binding.CompareAndSwap(nil, b)
	return b
}

// NewSession makes a client that is not connected yet: it has no events so far, but may join rooms.
// What is sent to it goes to s. info is not changed from then on; of a client without a request,
// and of one that the loop drives, it is kept in as little memory as that takes.
func (b *Binding) NewSession(info *handlers.Info, s handlers.Stream) *Session {
	id := b.hub.lastID.Add(1)
	if info.Request != nil || info.TLS != nil || info.Head != "" {
		if _, driven := s.(loop.Conn); !driven {
			c := &struct {
				Client
				identity
			}{Client{stream: s, id: id}, identity{binding: b, info: info}}
			c.who.Store(&c.identity)
			return (*Session)(&c.Client)
		}
	}
	c := &Client{stream: s, id: id, remote: compact(info.Remote)}
	c.identify(b, info)
	return (*Session)(c)
}

// Connect makes a client and raises its OnConnect: it is [handlers.Port.Connect] of a port that is
// not closing.
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

// Fail raises OnError for a connection or a request that has failed before a client was made of it.
// It logs nothing but a panic of OnError, and does nothing if err is nil.
func (b *Binding) Fail(info *handlers.Info, err error) {
	if b.hub.OnError != nil && err != nil {
		b.panicked(info, handlers.Guard(func() { b.hub.OnError(info, err) }))
	}
}

// panicked logs err if it is a panic of the program's code. b may be nil.
func (b *Binding) panicked(info *handlers.Info, err error) {
	if b == nil || b.log == nil {
		handlers.LogPanic(nil, info, err)
		return
	}
	handlers.LogPanic(b.log, info, err)
}
