package loop

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// A queue that is never quite empty does not keep bytes that were already sent.
func TestQueueIsCompacted(t *testing.T) {
	r := newRig(t, &Loop{MaxQueue: 256 << 10}, bench{name: "epoll", server: func(t *testing.T, nc *net.TCPConn) handlers.Conn {
		if err := nc.SetWriteBuffer(8 << 10); err != nil { // so that the kernel never takes everything
			t.Error(err)
		}
		return plainServer(t, nc)
	}})
	conn, rec, client := r.lines(t)
	c := conn.(*epollConn)
	start(c, rec)
	go func() { // ends when the client has gone
		line := bytes.Repeat([]byte("x"), 1000)
		for c.Send(line, handlers.Auto) == nil {
		}
	}()
	most := 0
	buf := make([]byte, 16<<10)
	for total := 0; total < 3<<20; {
		n, err := client.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		total += n
		c.mu.Lock()
		if c.x != nil {
			most = max(most, cap(c.x.out))
		}
		c.mu.Unlock()
	}
	if most > 1<<20 {
		t.Errorf("the queue's buffer was %d KiB", most>>10)
	}
	client.Close()
	goneWithin(t, time.Minute, rec)
}

// The memory of an incomplete message is returned to the budget, even if another goroutine waits to
// write.
func TestPartIsGivenBack(t *testing.T) {
	r := epollRig(t, &Loop{MaxQueue: 1})
	conn, rec, client := r.lines(t)
	c := conn.(*epollConn)
	start(c, rec)
	mustWrite(t, client, "part")
	within(t, time.Minute, "the part is kept", func() bool { return r.budget().Held() > 0 })
	sent := make(chan error, 1)
	go func() { // ends with the connection
		for {
			if err := c.Send(make([]byte, 1<<20), handlers.Auto); err != nil {
				sent <- err
				return
			}
		}
	}()
	within(t, time.Minute, "a writer waits", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.x != nil && c.x.waiting > 0
	})
	c.Destroy()
	<-rec.gone
	<-sent
	if got := r.budget().Held(); got != 0 {
		t.Errorf("%d bytes are counted as kept", got)
	}
}

// A long message followed by the beginning of a short one does not keep its buffer.
func TestPartShrinks(t *testing.T) {
	r := epollRig(t, noBounds())
	c, rec, client := r.lines(t)
	start(c, rec)
	mustWrite(t, client, strings.Repeat("x", 500<<10))
	within(t, time.Minute, "the part is kept", func() bool { return r.budget().Held() >= 500<<10 })
	mustWrite(t, client, strings.Repeat("y", 1000)+"\nz")
	within(t, time.Minute, "a small buffer is left", func() bool { return r.budget().Held() == 256 })
	mustWrite(t, client, "z\n")
	client.Close()
	goneWithin(t, time.Minute, rec)
	if got := rec.events(); len(got) != 4 || got[2] != "zz" {
		t.Errorf("%d events, the last messages %.10q", len(got), got[1:])
	}
}

// Blocked callbacks keep little memory each, however many there are.
func TestBlockedCallbacksAreCheap(t *testing.T) {
	eachEpoll(t, noBounds, func(t *testing.T, r *rig) {
		const n = 100
		in, release := make(chan struct{}, n), make(chan struct{})
		recs, peers := make([]*recorder, n), make([]peer, n)
		for i := range n {
			c, rec, client := r.lines(t)
			rec.onMessage = func(handlers.Message) error {
				in <- struct{}{}
				<-release
				return nil
			}
			mustWrite(t, client, "x\n")
			start(c, rec)
			recs[i], peers[i] = rec, client
		}
		for range n {
			<-in
		}
		r.poller.pool.mu.Lock()
		kept := 0
		for _, one := range r.poller.pool.all {
			if !one.serves && one.cur.Load() != nil {
				kept += len(one.in) + len(one.cipher)
			}
		}
		r.poller.pool.mu.Unlock()
		if most := 64 << 10; kept/n > most {
			t.Errorf("%d bytes for each, want at most %d", kept/n, most)
		}
		close(release)
		for i, p := range peers {
			p.Close()
			goneWithin(t, time.Minute, recs[i])
		}
	})
}

// hoarder is a codec that keeps all input until a line ends.
type hoarder struct {
	lines
	kept []byte
}

func (h *hoarder) Decode(in []byte, m *handlers.Messages) (int, error) {
	if h.kept = append(h.kept, in...); bytes.HasSuffix(h.kept, []byte("\n")) {
		m.Deliver(handlers.Message{Data: h.kept})
		h.kept = nil
	}
	m.Partial, m.Kept = len(h.kept) > 0, cap(h.kept)
	return len(in), nil
}

// Incomplete messages inside codecs count towards the same budget: TRAPS part 3, row 9.
func TestTraps3Row9KeptByCodecs(t *testing.T) {
	const clients, each, budget = 20, 8 << 10, 64 << 10
	eachEpoll(t, func() *Loop { return &Loop{Budget: &handlers.Budget{Max: budget}} }, func(t *testing.T, r *rig) {
		recs, peers := make([]*recorder, clients), make([]peer, clients)
		for i := range clients {
			c, rec, client := r.connect(t, handlers.Attachment{Codec: &hoarder{}})
			start(c, rec)
			for range 8 {
				_, _ = client.Write(make([]byte, each/8)) // it may be ended by now
			}
			recs[i], peers[i] = rec, client
		}
		within(t, time.Minute, "some are ended", func() bool { return r.Len() <= budget/each })
		if got := r.budget().Held(); got > budget {
			t.Errorf("%d bytes are kept, of %d", got, budget)
		}
		refused := 0
		for i, p := range peers {
			_, _ = p.Write([]byte("\n"))
			p.Close()
			goneWithin(t, time.Minute, recs[i])
			if all := recs[i].events(); strings.HasPrefix(all[len(all)-1], "disconnect "+handlers.ErrOverload.Error()) {
				refused++
			}
		}
		if refused == 0 || refused == clients {
			t.Errorf("%d of %d were refused", refused, clients)
		}
		if got := r.budget().Held(); got != 0 {
			t.Errorf("%d bytes are left in the account", got)
		}
	})
}
