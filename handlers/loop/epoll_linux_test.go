package loop

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// epollRig returns a rig without TLS.
func epollRig(t *testing.T, l *Loop) *rig {
	return newRig(t, l, bench{name: "epoll", server: plainServer})
}

// A runner may end its turn and be reused while the monitor declares it stuck.
func TestMonitorAndEndingTurn(t *testing.T) {
	var (
		p = &poller{runners: 1, polling: true}
		w = &p.pool
		c = &epollConn{loop: &Loop{}}
	)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { // ends with stop
		for {
			select {
			case <-stop:
				return
			default:
			}
			r := w.get(false)
			r.begin(c)
			runtime.Gosched()
			r.end()
			w.put(r)
		}
	})
	for late := time.Now().Add(300 * time.Millisecond); time.Now().Before(late); {
		p.mon.look(p)
		p.mon.look(p)
	}
	close(stop)
	wg.Wait()
}

// leaky panics with a reply and a next codec set; the next connection must not get them.
type leaky struct{ lines }

func (*leaky) Decode(_ []byte, m *handlers.Messages) (int, error) {
	m.Reply = append(m.Reply, "secret"...)
	m.Next = &leaky{}
	m.Hijack = func(nc net.Conn) { nc.Close() }
	panic("oops")
}

func TestPanicLeavesNothingBehind(t *testing.T) {
	r := epollRig(t, noBounds())
	for range 20 {
		bad, badRec, badPeer := r.connect(t, handlers.Attachment{Codec: &leaky{}, Unread: []byte("x")})
		start(bad, badRec)
		badPeer.Close()
		goneWithin(t, time.Minute, badRec)
		c, rec, client := r.connect(t, handlers.Attachment{Codec: &lines{}, Unread: []byte("a\n")})
		rec.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
		start(c, rec)
		mustRead(t, client, "a\n")
		client.Close()
		wantEvents(t, rec, "connect", "a", "disconnect <nil>")
	}
}

// Writers come and go while the owner reads, so the extra is freed and created all the time.
func TestWritersWhileReading(t *testing.T) {
	r := epollRig(t, noBounds())
	c, rec, client := r.lines(t)
	start(c, rec)
	const n = 3000
	var wg sync.WaitGroup
	wg.Go(func() {
		for range n {
			c.Send([]byte("out"), handlers.Auto)
		}
	})
	wg.Go(func() {
		for range n {
			io.WriteString(client, "in\n")
		}
	})
	if _, err := io.ReadFull(client, make([]byte, n*len("out\n"))); err != nil {
		t.Error(err)
	}
	wg.Wait()
	client.Close()
	goneWithin(t, time.Minute, rec)
	if got := len(rec.events()); got != n+2 {
		t.Errorf("%d events, want %d", got, n+2)
	}
}

// OnConnect may send more than the kernel accepts and the queue holds. It then waits for the peer.
func TestConnectSendsMuch(t *testing.T) {
	eachDriver(t, func() *Loop { return &Loop{MaxQueue: 1000} }, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		const lines, size = 40, 1 << 18
		rec.onConnect = func() {
			for range lines {
				c.Send(bytes.Repeat([]byte("x"), size), handlers.Auto)
			}
		}
		start(c, rec)
		if _, err := io.ReadFull(client, make([]byte, lines*(size+1))); err != nil {
			t.Fatal(err)
		}
		client.Close()
		goneWithin(t, time.Minute, rec)
	})
}

// What a slow OnConnect sends is written before it returns.
func TestConnectTakesItsTime(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		release := make(chan struct{})
		rec.onConnect = func() {
			c.Send([]byte("banner"), handlers.Auto)
			<-release
		}
		start(c, rec)
		client.SetReadDeadline(time.Now().Add(time.Minute))
		got := make([]byte, 7)
		_, err := io.ReadFull(client, got)
		close(release)
		if err != nil || string(got) != "banner\n" {
			t.Errorf("read %q, %v", got, err)
		}
		client.Close()
		goneWithin(t, time.Minute, rec)
	})
}

// What a slow callback sends is written before it returns, even if the callback before it was slow
// too.
func TestSecondBlockedCallback(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		second := make(chan struct{})
		rec.onMessage = func(m handlers.Message) error {
			c.Send(m.Data, m.Kind)
			switch m.String() {
			case "one":
				time.Sleep(60 * time.Millisecond)
			case "two":
				<-second
			}
			return nil
		}
		start(c, rec)
		mustWrite(t, client, "none\n")
		mustRead(t, client, "none\n")
		time.Sleep(20 * time.Millisecond) // its first turn is over
		mustWrite(t, client, "one\n")
		mustRead(t, client, "one\n")
		mustWrite(t, client, "two\n")
		client.SetReadDeadline(time.Now().Add(time.Minute))
		got := make([]byte, 4)
		_, err := io.ReadFull(client, got)
		close(second)
		if err != nil || string(got) != "two\n" {
			t.Errorf("read %q, %v while the callback runs", got, err)
		}
		client.Close()
		<-rec.gone
	})
}

// The runner that replaces a stuck one does not use a clock of its own.
func TestClockOfReplacement(t *testing.T) {
	r := epollRig(t, noBounds())
	var conns []*epollConn
	var peers []peer
	var recs []*recorder
	for len(conns) < 3 {
		conn, rec, client := r.lines(t)
		c := conn.(*epollConn)
		rec.onMessage = func(m handlers.Message) error {
			d, err := time.ParseDuration(m.String())
			time.Sleep(d)
			return errors.Join(err, c.Send(m.Data, m.Kind))
		}
		start(c, rec)
		mustWrite(t, client, "0s\n")
		mustRead(t, client, "0s\n")
		conns, peers, recs = append(conns, c), append(peers, client), append(recs, rec)
	}
	for range 10 {
		r.pass(t, time.Hour)
		mustWrite(t, peers[0], "3ms\n") // meanwhile the next two come together
		time.Sleep(time.Millisecond)
		mustWrite(t, peers[1], "30ms\n")
		mustWrite(t, peers[2], "1ns\n")
		mustRead(t, peers[2], "1ns\n")
		now := conns[2].now()
		conns[2].mu.Lock()
		since := conns[2].sinceActive(now)
		conns[2].mu.Unlock()
		if since > uint64(10*time.Minute/time.Millisecond) {
			t.Errorf("idle for %d ms when it has just been served", since)
		}
		mustRead(t, peers[0], "3ms\n")
		mustRead(t, peers[1], "30ms\n")
	}
	for i, p := range peers {
		p.Close()
		<-recs[i].gone
	}
}

// eachEpoll runs f on every bench of the epoll driver.
func eachEpoll(t *testing.T, l func() *Loop, f func(t *testing.T, r *rig)) {
	t.Parallel()
	for _, b := range benches {
		if b.driver == Auto {
			t.Run(b.name, func(t *testing.T) {
				t.Parallel()
				f(t, newRig(t, l(), b))
			})
		}
	}
}

// The idle time does not wrap around if bytes arrive while it is computed.
func TestSinceActive(t *testing.T) {
	c := &epollConn{}
	for _, tt := range []struct {
		now    uint64
		active uint32
		want   uint64
	}{{5000, 4000, 1000}, {5000, 5001, 0}, {1<<32 + 10, 1<<32 - 10, 20}} {
		c.active.Store(tt.active)
		if got := c.sinceActive(tt.now); got != tt.want {
			t.Errorf("sinceActive(%d) = %d with %d, want %d", tt.now, got, tt.active, tt.want)
		}
	}
}
