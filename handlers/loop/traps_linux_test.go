package loop

import (
	"fmt"
	"io"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/testdata/need"
)

// stormTime returns how long a storm lasts, which is longer in the long form.
func stormTime() time.Duration {
	if need.Long() {
		return time.Minute
	}
	return 300 * time.Millisecond
}

// storm opens, uses and closes connections in many goroutines, so that descriptors and slots are
// reused all the time. Each connection must see only its own lines.
func storm(t *testing.T, r *rig, end func(i int, c Conn, client peer)) {
	var n atomic.Int64
	var wg sync.WaitGroup
	late := time.Now().Add(stormTime())
	for range 16 {
		wg.Go(func() {
			for time.Now().Before(late) && !t.Failed() {
				i := int(n.Add(1))
				c, rec, client := r.echo(t)
				want := []string{"connect"}
				for k := range i%3 + 1 {
					line := fmt.Sprintf("%d.%d", i, k)
					want = append(want, line)
					mustWrite(t, client, line+"\n")
					mustRead(t, client, line+"\n")
				}
				end(i, c, client)
				client.Close()
				<-rec.gone
				if got := rec.events(); !slices.Equal(got[:len(got)-1], want) {
					t.Errorf("connection %d: events %q, want %q", i, got, want)
				}
			}
		})
	}
	wg.Wait()
	r.Close()
	r.Wait()
	t.Log(n.Load(), "connections")
}

func TestTraps3Row1Row14ReuseStorm(t *testing.T) {
	t.Parallel()
	storm(t, epollRig(t, noBounds()), func(int, Conn, peer) {})
}

// Destroy and End are called from any goroutine while others write.
func TestTraps3Row2CloseFromAnywhere(t *testing.T) {
	t.Parallel()
	storm(t, epollRig(t, noBounds()), func(i int, c Conn, client peer) {
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for k := 0; k < 1000 && c.Send([]byte("x"), handlers.Auto) == nil; k++ {
				}
			})
		}
		wg.Go(func() { io.Copy(io.Discard, client) })
		if i%2 == 0 {
			c.End()
		}
		go c.Destroy()
		c.Destroy()
		wg.Wait()
	})
}

// Bytes in user space are served without another event: those that were read before, and those that
// the TLS layer holds.
func TestTraps3Row6InUserSpace(t *testing.T) {
	eachEpoll(t, noBounds, func(t *testing.T, r *rig) {
		const n = 200
		var sent, want strings.Builder
		for i := range n {
			fmt.Fprintf(&sent, "%d\n", i)
		}
		want.WriteString("unread\n" + sent.String())
		c, rec, client := r.connect(t, handlers.Attachment{Codec: &lines{}, Unread: []byte("unread\n")})
		rec.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
		mustWrite(t, client, sent.String()) // pipelined, before the connection is driven
		time.Sleep(10 * time.Millisecond)
		start(c, rec)
		mustRead(t, client, want.String())
		client.Close()
		goneWithin(t, time.Minute, rec)
	})
}

// A FIN that comes together with the last data does not make the loop lose any of it, however much
// it is.
func TestTraps3Row7LastDataWithFIN(t *testing.T) {
	eachEpoll(t, noBounds, func(t *testing.T, r *rig) {
		for _, size := range []int{1, 1000, readSize - 1, readSize, 300_000} {
			c, rec, client := r.lines(t)
			got := make(chan int, 1)
			rec.onMessage = func(m handlers.Message) error {
				got <- len(m.Data)
				return nil
			}
			if size%2 == 0 {
				start(c, rec)
				time.Sleep(5 * time.Millisecond) // the connection is idle
			}
			written := make(chan struct{})
			go func() { // ends when all is taken
				defer close(written)
				io.WriteString(client, strings.Repeat("x", size))
				client.CloseWrite()
			}()
			if size%2 != 0 && size < 2000 {
				<-written
			}
			if size%2 != 0 {
				start(c, rec)
			}
			if n := <-got; n != size {
				t.Errorf("a message of %d bytes, want %d", n, size)
			}
			client.Close()
			goneWithin(t, time.Minute, rec)
		}
	})
}

// Incomplete messages take small buffers, whose total is bounded by a budget.
func TestTraps3Row9PartialBudget(t *testing.T) {
	eachEpoll(t, func() *Loop { return &Loop{Budget: &handlers.Budget{Max: 10 << 10}} }, func(t *testing.T, r *rig) {
		const n = 20
		recs, peers := make([]*recorder, n), make([]peer, n)
		for i := range n {
			c, rec, client := r.lines(t)
			start(c, rec)
			mustWrite(t, client, strings.Repeat("x", 100))
			recs[i], peers[i] = rec, client
		}
		within(t, time.Minute, "20 small buffers", func() bool { return r.budget().Held() == n*256 })
		for _, p := range peers {
			io.WriteString(p, strings.Repeat("x", 900)) // takes a buffer of 1 KiB; the budget has room for 7
		}
		within(t, time.Minute, "some are ended", func() bool { return r.Len() <= 7+5 })
		policy := 0
		for i, p := range peers {
			io.WriteString(p, "\n")
			p.Close()
			goneWithin(t, time.Minute, recs[i])
			if all := recs[i].events(); strings.HasPrefix(all[len(all)-1], "disconnect "+handlers.ErrOverload.Error()) {
				policy++
			}
		}
		if policy == 0 || policy == n {
			t.Errorf("%d of %d clients were refused", policy, n)
		}
		if got := r.budget().Held(); got != 0 {
			t.Errorf("%d bytes are left in the account", got)
		}
	})
}

// Idle connections, also with TLS, have no goroutine, and need no more threads.
func TestTraps3Row11Idle(t *testing.T) {
	run := func(t *testing.T, r *rig) {
		n := 1000
		if r.tls {
			n = 200
		}
		_, rec, client := r.echo(t) // creates the epoll set
		mustWrite(t, client, "x\n")
		mustRead(t, client, "x\n")
		goroutines, threads := runtime.NumGoroutine(), pprof.Lookup("threadcreate").Count()
		recs, peers := []*recorder{rec}, []peer{client}
		for range n {
			_, rec, client := r.echo(t)
			recs, peers = append(recs, rec), append(peers, client)
		}
		for _, p := range peers {
			mustWrite(t, p, "x\n")
			mustRead(t, p, "x\n")
		}
		within(t, time.Minute, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
		if got := pprof.Lookup("threadcreate").Count() - threads; got > 8 {
			t.Errorf("%d more threads for %d idle connections", got, n)
		}
		for i, p := range peers {
			p.Close()
			goneWithin(t, time.Minute, recs[i])
		}
	}
	for _, b := range benches { // not in parallel, because goroutines are counted
		if b.driver == Auto {
			t.Run(b.name, func(t *testing.T) { run(t, newRig(t, &Loop{Timeout: time.Hour}, b)) })
		}
	}
}
