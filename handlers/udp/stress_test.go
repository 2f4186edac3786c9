package udp

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// stress is a port that checks the order of each address's events.
type stress struct {
	hub
	open     sync.Map // netip.AddrPort -> true while connected
	connects atomic.Int64
	leaves   atomic.Int64
	messages atomic.Int64
	wrong    atomic.Pointer[string]
}

type stressClient struct {
	*stress
	handlers.Stream
	remote netip.AddrPort
	inside atomic.Bool
	gone   bool
}

func (s *stress) complain(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.wrong.CompareAndSwap(nil, &text)
}

func (s *stress) Connect(info *handlers.Info, stream handlers.Stream) (handlers.Client, error) {
	if _, twice := s.open.LoadOrStore(info.Remote, true); twice {
		s.complain("%v connects before it was disconnected", info.Remote)
	}
	c := &stressClient{stress: s, Stream: stream, remote: info.Remote}
	if rand.IntN(50) == 0 {
		s.open.Delete(info.Remote)
		return nil, handlers.ErrPanic
	}
	s.connects.Add(1)
	return c, nil
}

func (c *stressClient) Message(m handlers.Message) error {
	if !c.inside.CompareAndSwap(false, true) || c.gone {
		c.complain("%v has two events at once, or one after the last", c.remote)
	}
	defer c.inside.Store(false)
	c.messages.Add(1)
	_ = c.Send(m.Data, handlers.Auto)
	switch rand.IntN(60) {
	case 0:
		return c.End()
	case 1:
		c.Destroy()
	case 2:
		return handlers.ErrPanic
	case 3:
		panic("a handler's own")
	case 4:
		<-time.After(10 * time.Millisecond)
	case 5:
		go c.Destroy() // ends at once
	case 6:
		go func() { _ = c.End() }() // ends at once
	}
	return nil
}

func (c *stressClient) Disconnect(error) {
	if !c.inside.CompareAndSwap(false, true) || c.gone {
		c.complain("%v is disconnected twice, or in an event", c.remote)
	}
	c.gone = true
	if rand.IntN(20) == 0 {
		<-time.After(10 * time.Millisecond)
	}
	c.leaves.Add(1)
	c.open.Delete(c.remote)
}

// Clients come, go, are evicted, are idle, are ended from any goroutine and panic, all at once.
// Each has its events in order, one at a time, with one OnDisconnect for each OnConnect, and
// nothing is left.
func TestStress(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			h := &stress{}
			s := &Server{
				Batch: w.batch, MaxClients: 20, Timeout: 30 * time.Millisecond, RoomWindow: time.Millisecond,
				MaxQueue: 2000, MaxWaiting: 5, MaxBacklog: 20000,
			}
			pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- s.ServePacket(w.wrap(pc), h) }() // ends with Shutdown
			var wg sync.WaitGroup
			stop := make(chan struct{})
			for range 40 {
				c := dial(t, "udp", pc.LocalAddr().String())
				wg.Go(func() { // ends with stop
					for i := 0; ; i++ {
						select {
						case <-stop:
							return
						default:
						}
						_, _ = c.Write(make([]byte, rand.IntN(600)))
						if rand.IntN(10) == 0 {
							<-time.After(time.Duration(rand.IntN(60)) * time.Millisecond)
						}
					}
				})
			}
			<-time.After(time.Second)
			if w.name == "single" { // while the clients go on
				if err := s.Shutdown(t.Context()); err != nil {
					t.Errorf("Shutdown() = %v", err)
				}
			}
			close(stop)
			wg.Wait()
			if err := s.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown() = %v", err)
			}
			if err := <-done; !errors.Is(err, ErrServerClosed) {
				t.Errorf("ServePacket() = %v", err)
			}
			if text := h.wrong.Load(); text != nil {
				t.Error(*text)
			}
			if c, l := h.connects.Load(), h.leaves.Load(); c != l || c == 0 || h.messages.Load() == 0 {
				t.Errorf("%d have connected, and %d were disconnected, with %d messages", c, l, h.messages.Load())
			}
			if s.table.len() != 0 || s.backlog != 0 || s.table.active() != 0 {
				t.Errorf("%d clients and %d bytes are left", s.table.len(), s.backlog)
			}
			t.Logf("%d clients, %d messages, %+v", h.connects.Load(), h.messages.Load(), s.Stats())
		})
	}
}
