package httpd

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/portluck/portluck/handlers"
)

// laneContext is the context of a request of the lane. Most programs never ask for its channel,
// which is made then.
type laneContext struct {
	lane *lane

	mu    sync.Mutex
	over  bool // the request has been served
	inner context.Context
	end   context.CancelFunc
}

// Deadline is [context.Context.Deadline].
func (c *laneContext) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value is [context.Context.Value].
func (c *laneContext) Value(key any) any {
	switch key {
	case connKey{}:
		return &c.lane.conn
	case handlers.PortContextKey:
		return c.lane.conn.port
	case http.ServerContextKey:
		return c.lane.handler.http1
	case http.LocalAddrContextKey:
		return c.lane.conn.nc.LocalAddr()
	}
	return nil
}

// Done is [context.Context.Done].
func (c *laneContext) Done() <-chan struct{} { return c.made().Done() }

// Err is [context.Context.Err].
func (c *laneContext) Err() error {
	c.lane.watch()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return context.Canceled
	}
	return nil
}

// AfterFunc lets package context do without a goroutine for each context that is made from c.
func (c *laneContext) AfterFunc(f func()) (stop func() bool) {
	return context.AfterFunc(c.made(), f)
}

func (c *laneContext) made() context.Context {
	c.lane.watch()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner == nil {
		c.inner, c.end = context.WithCancel(context.Background())
		if c.over {
			c.end()
		}
	}
	return c.inner
}

// cancel ends the context: the request has been served, or the connection has ended.
func (c *laneContext) cancel() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.end != nil {
		c.end()
	}
}

// begin begins a request, whose context is ctx.
func (s *lane) begin(ctx *laneContext) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ctx, ctx.over = ctx, s.broken
}

// watch watches for the end of the client, as net/http does for each request, if the request takes
// patience. A program that does not ask for that end pays nothing.
func (s *lane) watch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.asked && !s.over {
		s.asked = true
		s.handler.delays.add(&s.delay, s)
	}
}

// tooLate watches a duplicate of the connection. If there is none, for lack of descriptors, the
// client's end is noticed when the request has been served.
func (s *lane) tooLate() {
	nc, err := s.client.Dup()
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		nc.Close()
		return
	}
	s.peer = nc
	go s.follow(nc) // ends with the connection, or when end closes nc
}

// follow waits for the end of nc. Like net/http it gives up when the client has sent something.
func (s *lane) follow(nc net.Conn) {
	c, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	n, err := awaitInput(c)
	if errors.Is(err, io.EOF) {
		s.conn.end()
		err = awaitBreak(c)
	}
	if n == 0 && !errors.Is(err, net.ErrClosed) {
		s.breaks()
	}
}

// breaks ends the context of the request that is being served, as the connection has ended.
func (s *lane) breaks() {
	s.mu.Lock()
	ctx, over := s.ctx, s.over
	s.broken = true
	s.mu.Unlock()
	if ctx != nil && !over {
		ctx.cancel()
	}
}

// end ends the watch.
func (s *lane) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over = true; s.asked {
		s.handler.delays.remove(&s.delay)
	}
	if s.peer != nil {
		s.peer.Close()
	}
}
