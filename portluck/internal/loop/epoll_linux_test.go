package loop

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/tcp"
	"golang.org/x/sys/unix"
)

// epollRig is a rig without TLS.
func epollRig(t *testing.T, l *Loop) *rig {
	return newRig(t, l, bench{"epoll", Auto, false, plainServer})
}

func newRig(t *testing.T, l *Loop, b bench) *rig {
	r := &rig{Loop: l, bench: b}
	r.Driver = b.driver
	t.Cleanup(func() {
		r.Close()
		r.Wait()
	})
	return r
}

// within fails the test when cond does not hold soon.
func within(t *testing.T, d time.Duration, what string, cond func() bool) {
	t.Helper()
	for late := time.Now().Add(d); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("not within %v: %s", d, what)
		}
	}
}

func goneWithin(t *testing.T, d time.Duration, rec *recorder) {
	t.Helper()
	select {
	case <-rec.gone:
	case <-time.After(d):
		t.Fatalf("not gone after %v: events %q", d, rec.events())
	}
}

// A runner may end its turn, and be given back, while the monitor takes it for lost.
func TestMonitorAndEndingTurn(t *testing.T) {
	var (
		m monitor
		w crew
		c = &polled{}
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
			r := w.get(nil)
			r.begin(c)
			runtime.Gosched()
			r.end()
			w.put(r)
		}
	})
	for late := time.Now().Add(300 * time.Millisecond); time.Now().Before(late); {
		m.look(&w)
		m.look(&w)
	}
	close(stop)
	wg.Wait()
}

// leaky panics with an answer, and a codec, that are not for the next connection.
type leaky struct{ tcp.Lines }

func (*leaky) Decode(_ []byte, m *handlers.Messages) (int, error) {
	m.Reply = append(m.Reply, "secret"...)
	m.Next = &leaky{}
	panic("oops")
}

func TestPanicLeavesNothingBehind(t *testing.T) {
	r := epollRig(t, noBounds())
	for range 20 {
		bad, badRec, badPeer := r.connect(t, handlers.Attachment{Codec: &leaky{}, Unread: []byte("x")})
		start(bad, badRec)
		badPeer.Close()
		goneWithin(t, 5*time.Second, badRec)
		c, rec, client := r.connect(t, handlers.Attachment{Codec: &tcp.Lines{}, Unread: []byte("a\n")})
		rec.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
		start(c, rec)
		mustRead(t, client, "a\n")
		client.Close()
		wantEvents(t, rec, "connect", "a", "disconnect <nil>")
	}
}

// Writers come and go while the owner reads: the extra is given back and fetched all the time.
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
	goneWithin(t, 5*time.Second, rec)
	if got := len(rec.events()); got != n+2 {
		t.Errorf("%d events, want %d", got, n+2)
	}
}

// A queue that is never quite empty does not keep what was sent.
func TestQueueIsCompacted(t *testing.T) {
	r := newRig(t, &Loop{MaxQueue: 256 << 10}, bench{"epoll", Auto, false, func(t *testing.T, nc *net.TCPConn) handlers.Conn {
		if err := nc.SetWriteBuffer(8 << 10); err != nil { // the kernel never takes all
			t.Error(err)
		}
		return plainServer(t, nc)
	}})
	conn, rec, client := r.lines(t)
	c := conn.(*polled)
	start(c, rec)
	go func() { // ends when the client has gone
		line := bytes.Repeat([]byte("x"), 1000)
		for c.Send(line, handlers.Auto) == nil {
		}
	}()
	most := 0
	buf := make([]byte, 16<<10)
	for total := 0; total < 8<<20; {
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
	goneWithin(t, 5*time.Second, rec)
}

// What OnConnect sends may be more than the kernel takes and than may be queued: it waits for the peer to read.
func TestConnectSendsMuch(t *testing.T) {
	eachDriver(t, func() *Loop { return &Loop{MaxQueue: 1000} }, func(t *testing.T, r *rig) {
		for _, parked := range []bool{false, true} {
			c, rec, client := r.lines(t)
			const lines, size = 40, 1 << 18
			rec.onConnect = func() {
				for range lines {
					c.Send(bytes.Repeat([]byte("x"), size), handlers.Auto)
				}
			}
			if parked {
				c.StartParked(rec, &lot{})
			} else {
				start(c, rec)
			}
			if _, err := io.ReadFull(client, make([]byte, lines*(size+1))); err != nil {
				t.Fatalf("parked %t: %v", parked, err)
			}
			client.Close()
			goneWithin(t, 5*time.Second, rec)
		}
	})
}

// What OnConnect sends to a client that is to be parked is sent although it has not returned.
func TestParkedConnectTakesItsTime(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		release := make(chan struct{})
		rec.onConnect = func() {
			c.Send([]byte("banner"), handlers.Auto)
			<-release
		}
		c.StartParked(rec, &lot{})
		client.SetReadDeadline(time.Now().Add(2 * time.Second))
		got := make([]byte, 7)
		_, err := io.ReadFull(client, got)
		close(release)
		if err != nil || string(got) != "banner\n" {
			t.Errorf("read %q, %v", got, err)
		}
		client.Close()
		goneWithin(t, 5*time.Second, rec)
	})
}

// slowLot takes its time to park.
type slowLot struct {
	lot
	parking, goOn chan struct{}
}

func (l *slowLot) Park() {
	close(l.parking)
	<-l.goOn
	l.lot.Park()
}

// The program may write while the connection is on its way to be parked.
func TestWriteWhileParking(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		lot := &slowLot{parking: make(chan struct{}), goOn: make(chan struct{})}
		c.StartParked(rec, lot)
		<-lot.parking
		c.Send([]byte("hi"), handlers.Auto)
		time.AfterFunc(20*time.Millisecond, func() { close(lot.goOn) })
		client.SetDeadline(time.Now().Add(2 * time.Second))
		mustRead(t, client, "hi\n")
		client.Close()
		wantEvents(t, rec, "connect", "disconnect <nil>")
	})
}

// A shutdown that comes while OnConnect runs is one of a connection that nobody reads yet.
func TestHaltWhileConnecting(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		for _, parked := range []bool{false, true} {
			c, rec, client := r.lines(t)
			halted := make(chan struct{})
			connecting := make(chan struct{})
			rec.onConnect = func() {
				close(connecting)
				<-halted
			}
			lot := &lot{}
			if parked {
				c.StartParked(rec, lot)
			} else {
				start(c, rec)
			}
			<-connecting
			mustWrite(t, client, "a\n")
			c.(ender).halt()
			close(halted)
			if got, err := io.ReadAll(client); len(got) > 0 || err != nil {
				t.Errorf("parked %t: read %q, %v", parked, got, err)
			}
			client.Close()
			if lot.Take() {
				t.Error("it was parked")
			}
			wantEvents(t, rec, "connect", "a", "disconnect "+handlers.ErrShutdown.Error())
		}
	})
}

// A shutdown may find a connection that was admitted and is not yet driven.
func TestHaltBeforeRun(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		mustWrite(t, client, "a\n")
		run := c.Start(rec)
		c.(ender).halt()
		time.Sleep(10 * time.Millisecond)
		go run()
		go func() { // ends with the connection
			io.Copy(io.Discard, client)
			client.Close()
		}()
		wantEvents(t, rec, "connect", "a", "disconnect "+handlers.ErrShutdown.Error())
	})
}

// A parked connection that its parking is about to retire may be destroyed any number of times.
func TestDestroyWhileRetiring(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		for range 20 {
			c, rec, client := r.lines(t)
			lot := &lot{}
			c.StartParked(rec, lot)
			for !lot.isParked() {
				time.Sleep(time.Millisecond)
			}
			lot.Take() // by the parking
			c.Destroy()
			c.Destroy()
			c.(ender).halt()
			time.Sleep(time.Millisecond)
			if c.Retire() {
				t.Error("Retire() = true for a client that was destroyed")
			}
			wantEvents(t, rec, "connect", "disconnect <nil>")
			client.Close()
		}
		within(t, 5*time.Second, "Len() = 0", func() bool { return r.Len() == 0 })
	})
}

// words is a codec with a farewell.
type words struct{ tcp.Lines }

func (*words) AppendClose(dst []byte, _ error) []byte { return append(dst, "bye"...) }

// A peer that reads neither what is queued nor the farewell does not stay.
func TestFarewellIsNotRead(t *testing.T) {
	r := epollRig(t, &Loop{MaxQueue: 64 << 10})
	conn, rec, _ := r.connect(t, handlers.Attachment{Codec: &words{}})
	c := conn.(*polled)
	start(c, rec)
	for full := 0; full < 10; { // the kernel makes room as it hands on what it has
		if full++; c.TrySend(make([]byte, 8<<10), handlers.Auto) == nil {
			full = 0
			continue
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := c.End(); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	c.x.closeBy = c.now() + 50 // instead of closeWait
	c.shard.schedule(c, c.x.closeBy)
	c.mu.Unlock()
	goneWithin(t, 5*time.Second, rec)
}

// The budget for messages that are not whole is given back whoever waits.
func TestPartIsGivenBack(t *testing.T) {
	r := epollRig(t, &Loop{MaxQueue: 1})
	conn, rec, client := r.lines(t)
	c := conn.(*polled)
	start(c, rec)
	mustWrite(t, client, "part")
	within(t, 5*time.Second, "the part is kept", func() bool { return r.shards.part.Load() > 0 })
	sent := make(chan error, 1)
	go func() { // ends with the connection
		for {
			if err := c.Send(make([]byte, 1<<20), handlers.Auto); err != nil {
				sent <- err
				return
			}
		}
	}()
	within(t, 5*time.Second, "a writer waits", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.x != nil && c.x.waiting > 0
	})
	c.Destroy()
	<-rec.gone
	<-sent
	if got := r.shards.part.Load(); got != 0 {
		t.Errorf("%d bytes are counted as kept", got)
	}
}

// What a callback writes is sent although it takes its time, also when the one before has taken its time.
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
		client.SetReadDeadline(time.Now().Add(2 * time.Second))
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

// refused is a client whose OnConnect panics.
type refused struct{ *recorder }

func (r refused) Connect(info *handlers.Info) error {
	r.recorder.Connect(info)
	return handlers.ErrPanic
}

// A connection that ends before it was ever watched is still told when its peer goes.
func TestConnectFails(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		go c.Start(refused{rec})()
		if got, err := io.ReadAll(client); !strings.HasPrefix(string(got), "error:") || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		client.Close()
		goneWithin(t, lingerTime/2, rec)
	})
}

// The farewell of a codec may panic too.
type rude struct{ tcp.Lines }

func (*rude) AppendClose([]byte, error) []byte { panic("oops") }

func TestFarewellPanics(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.connect(t, handlers.Attachment{Codec: &rude{}})
		rec.onMessage = func(handlers.Message) error { return handlers.ErrPolicy }
		start(c, rec)
		mustWrite(t, client, "x\n")
		if _, err := io.ReadAll(client); err != nil {
			t.Error(err)
		}
		client.Close()
		wantEvents(t, rec, "connect", "x", "disconnect "+handlers.ErrPolicy.Error())
	})
}

// A long message that is followed by the beginning of a short one does not keep its buffer.
func TestPartShrinks(t *testing.T) {
	r := epollRig(t, noBounds())
	c, rec, client := r.lines(t)
	start(c, rec)
	mustWrite(t, client, strings.Repeat("x", 500<<10))
	within(t, 5*time.Second, "the part is kept", func() bool { return r.shards.part.Load() >= 500<<10 })
	mustWrite(t, client, strings.Repeat("y", 1000)+"\nz")
	within(t, 5*time.Second, "a small buffer is left", func() bool { return r.shards.part.Load() == 256 })
	mustWrite(t, client, "z\n")
	client.Close()
	goneWithin(t, 5*time.Second, rec)
	if got := rec.events(); len(got) != 4 || got[2] != "zz" {
		t.Errorf("%d events, the last messages %.10q", len(got), got[1:])
	}
}

// The runner that takes a lost one's place does not go by a clock of its own.
func TestClockOfReplacement(t *testing.T) {
	r := epollRig(t, noBounds())
	var conns []*polled
	var peers []peer
	var recs []*recorder
	for len(conns) < 3 {
		conn, rec, client := r.lines(t)
		c := conn.(*polled)
		if len(conns) > 0 && c.shard != conns[0].shard {
			start(c, rec)
			client.Close()
			continue
		}
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
	time.Sleep(300 * time.Millisecond)
	for range 10 {
		mustWrite(t, peers[0], "3ms\n") // meanwhile the next two come together
		time.Sleep(time.Millisecond)
		mustWrite(t, peers[1], "30ms\n")
		mustWrite(t, peers[2], "1ns\n")
		mustRead(t, peers[2], "1ns\n")
		now := conns[2].now()
		conns[2].mu.Lock()
		since := conns[2].sinceActive(now)
		conns[2].mu.Unlock()
		if since > 200 {
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

// Slots are not given away twice, and what is late is forgotten once it has gone.
func TestLateAreForgotten(t *testing.T) {
	r := epollRig(t, &Loop{Timeout: 50 * time.Millisecond})
	recs := make([]*recorder, 50)
	for i := range recs {
		c, rec, _ := r.lines(t)
		start(c, rec)
		recs[i] = rec
	}
	for _, rec := range recs {
		goneWithin(t, 5*time.Second, rec)
	}
	for _, s := range r.shards.all {
		s.mu.Lock()
		for i, c := range s.late[:cap(s.late)] {
			if c != nil {
				t.Errorf("late[%d] is kept", i)
			}
		}
		if len(s.free) != len(s.slots) {
			t.Errorf("%d slots, %d free", len(s.slots), len(s.free))
		}
		s.mu.Unlock()
	}
}

// A loop that has too few descriptors for its shards falls back on goroutines, and can be closed.
func TestTooFewDescriptors(t *testing.T) {
	var l Loop
	s, err := newShard(&l)
	if err != nil {
		t.Fatal(err)
	}
	l.shards.once.Do(func() {
		l.shards.all = []*shard{s}
		l.shards.fail(unix.EMFILE)
	})
	server, client := tcpPair(t)
	c, rec := l.New(&fakeConn{nc: server}, handlers.Attachment{Codec: &tcp.Lines{}}), newRecorder()
	start(c, rec)
	client.Close()
	wantEvents(t, rec, "connect", "disconnect <nil>")
	l.Close()
	l.Wait()
}

// eachEpoll runs f with every bench of the epoll driver.
func eachEpoll(t *testing.T, l func() *Loop, f func(t *testing.T, r *rig)) {
	for _, b := range benches {
		if b.driver == Auto {
			t.Run(b.name, func(t *testing.T) { f(t, newRig(t, l(), b)) })
		}
	}
}
