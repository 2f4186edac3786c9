package callosum

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/portluck/portluck/handlers/internal/tasks"

	"github.com/portluck/portluck/handlers/internal/setting"
)

// Errors of a [Pool].
var (
	// ErrPoolClosed means that Run has ended.
	ErrPoolClosed = errors.New("pool closed")
	// ErrBusy means that no connection became free in time.
	ErrBusy = errors.New("no connection is free")
	// ErrNoServers means that the pool knows no server.
	ErrNoServers = errors.New("no servers to contact")
)

// A Pool keeps connections to a set of servers, and hands one with a low slot to each request.
// While [Pool.Run] runs, the pool fills itself and then probes a server every ProbeInterval: a
// connection with a lower slot than the highest in the pool replaces that one. So clients leave
// crowded servers for idle ones, and the load balances itself.
//
// The zero value is ready to use. The fields must not be changed once the pool is in use. Any
// goroutine may call its methods.
type Pool struct {
	// Servers maps the ids of the initial servers to their addresses; see Add and Drop.
	Servers map[string]string
	// Size is the number of connections to keep; 100 if zero or negative.
	Size int
	// ProbeInterval is the time between probes; 1 second if zero, no probes if negative. It is also
	// the time until a server that has failed is tried again, which is 1 second without probes.
	ProbeInterval time.Duration
	// Wait bounds how long Get waits for a connection; 10 seconds if zero, bounded only by ctx if
	// negative.
	Wait time.Duration
	// MaxDials bounds the connections that Run makes at once; 4 if zero, no bound if negative.
	MaxDials int
	// UnreadTimeout is how long 64 KiB that a server has sent may wait for the program to read
	// them; 2 minutes if zero, no bound if negative. After that the pool closes the connection. It
	// applies where [Handler.UnreadTimeout] does.
	UnreadTimeout time.Duration
	// Dialer makes the connections.
	Dialer Dialer
	// OnError, if not nil, is called by Run with the id of a server that was unreachable or broke
	// the protocol. While the pool has no servers it is called with [ErrNoServers] and no id at
	// each probe.
	OnError func(id string, err error)

	watcher watcher
	once    sync.Once
	tasks   tasks.Group

	mu      sync.Mutex
	servers map[string]string
	members []*member // the lowest slot first
	leased  map[*Conn]*member
	waiting []chan *Conn // calls of Get that wait, the oldest first
	uses    uint64
	wake    chan struct{}
	failed  map[string]bool // servers not to try again before the next probe
	closed  bool
}

// A Member describes a connection of a [Pool].
type Member struct {
	Server string // the server's id; empty if the connection was offered
	Addr   string
	Slot   int
	Leased bool
	Uses   uint64 // how often it was handed out
}

func (p *Pool) size() int           { return cmp.Or(max(p.Size, 0), 100) }
func (p *Pool) wait() time.Duration { return setting.Or(p.Wait, 10*time.Second, setting.Never) }

func (p *Pool) unreadTimeout() time.Duration {
	return setting.Or(p.UnreadTimeout, 2*time.Minute, setting.Never)
}

func (p *Pool) probeInterval() time.Duration {
	return setting.Or(p.ProbeInterval, time.Second, time.Second)
}

func (p *Pool) maxDials() int {
	if p.MaxDials < 0 {
		return math.MaxInt
	}
	return cmp.Or(p.MaxDials, 4)
}

// init makes the maps. Call it before locking p.mu.
func (p *Pool) init() {
	p.once.Do(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.servers, p.leased, p.wake = map[string]string{}, map[*Conn]*member{}, make(chan struct{}, 1)
		p.failed = map[string]bool{}
		for id, addr := range p.Servers {
			p.servers[id] = addr
		}
	})
}

// Add adds a server, or changes the address of the server with this id. It closes connections to
// the old address; leased ones are closed when they are put back.
func (p *Pool) Add(id, addr string) {
	p.init()
	p.mu.Lock()
	old, known := p.servers[id]
	p.servers[id] = addr
	p.mu.Unlock()
	if known && old != addr {
		p.dropMembers(id)
	}
	p.nudge()
}

// Drop removes a server and closes the connections to it; leased ones are closed when they are put
// back.
func (p *Pool) Drop(id string) {
	p.init()
	p.mu.Lock()
	delete(p.servers, id)
	p.mu.Unlock()
	p.dropMembers(id)
	p.nudge()
}

// Members returns the connections of the pool, the lowest slot first.
func (p *Pool) Members() []Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Member, len(p.members))
	for i, m := range p.members {
		all[i] = Member{Server: m.id, Addr: m.addr, Slot: m.conn.slot, Leased: m.leased, Uses: m.uses}
	}
	return all
}

// TryGet returns the free connection with the lowest slot, or nil if there is none. The caller must
// put it back.
func (p *Pool) TryGet() *Conn {
	p.init()
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.lowestLocked(); m != nil && !p.closed {
		return p.leaseLocked(m)
	}
	return nil
}

// Get is like TryGet but waits for a connection until ctx ends or Wait has passed. It returns the
// error of ctx, [ErrBusy] or [ErrPoolClosed].
func (p *Pool) Get(ctx context.Context) (*Conn, error) {
	p.init()
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, ErrPoolClosed
	}
	if m := p.lowestLocked(); m != nil && len(p.waiting) == 0 {
		defer p.mu.Unlock()
		return p.leaseLocked(m), nil
	}
	turn := make(chan *Conn, 1)
	p.waiting = append(p.waiting, turn)
	p.mu.Unlock()
	t := time.NewTimer(p.wait())
	defer t.Stop()
	err := error(ErrBusy)
	select {
	case c := <-turn:
		return got(c)
	case <-t.C:
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.mu.Lock()
	i := slices.Index(p.waiting, turn)
	if i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
	p.mu.Unlock()
	if i < 0 { // Get has been sent a connection meanwhile
		return got(<-turn)
	}
	return nil, err
}

func got(c *Conn) (*Conn, error) {
	if c == nil {
		return nil, ErrPoolClosed
	}
	return c, nil
}

// lowestLocked returns the free member to use next, or nil if there is none. A slot is only a rough
// measure of the load of its server. So among the free members whose slots are at most nearby times
// the lowest, lowestLocked returns the one that was used least recently.
func (p *Pool) lowestLocked() (lowest *member) {
	limit := 0
	for _, m := range p.members {
		switch {
		case lowest != nil && m.conn.slot > limit:
			return lowest
		case m.leased:
		case lowest == nil:
			lowest, limit = m, nearby*m.conn.slot
		case m.last < lowest.last:
			lowest = m
		}
	}
	return lowest
}

// nearby is the largest factor between slots that are regarded as the same load.
const nearby = 4

func (p *Pool) leaseLocked(m *member) *Conn {
	p.uses++
	m.leased, m.last = true, p.uses
	m.uses++
	p.leased[m.conn] = m
	return m.conn
}

// Put gives a connection back to the pool. The next request must be able to use it; if it cannot,
// close the connection instead of calling Put. Put closes a connection that is broken or was
// replaced by one with a lower slot.
func (p *Pool) Put(c *Conn) {
	p.init()
	p.mu.Lock()
	m := p.leased[c]
	if m == nil {
		p.mu.Unlock()
		return
	}
	delete(p.leased, c)
	m.leased = false
	if !m.displaced && !p.closed {
		p.freedLocked()
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	c.Close()
}

// freedLocked gives free members to the calls of Get that wait.
func (p *Pool) freedLocked() {
	for len(p.waiting) > 0 {
		m := p.lowestLocked()
		if m == nil {
			return
		}
		p.waiting[0] <- p.leaseLocked(m)
		p.waiting = p.waiting[1:]
	}
}

// Do calls Get, f and Put. If f fails or panics, Do closes the connection instead, as the next
// request could take bytes that still arrive on it for its own answer.
func (p *Pool) Do(ctx context.Context, f func(c *Conn) error) error {
	c, err := p.Get(ctx)
	if err != nil {
		return fmt.Errorf("callosum: %w", err)
	}
	good := false
	defer func() {
		if !good {
			c.Close()
		}
		p.Put(c)
	}()
	if err := f(c); err != nil {
		return err
	}
	good = true
	return nil
}
