package loop

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"golang.org/x/sys/unix"
)

// A shutdown during OnConnect ends the connection, which is not read yet.
func TestHaltWhileConnecting(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		halted := make(chan struct{})
		connecting := make(chan struct{})
		rec.onConnect = func() {
			close(connecting)
			<-halted
		}
		start(c, rec)
		<-connecting
		mustWrite(t, client, "a\n")
		c.(ender).halt()
		close(halted)
		if got, err := io.ReadAll(client); len(got) > 0 || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		client.Close()
		wantEvents(t, rec, "connect", "a", "disconnect "+handlers.ErrShutdown.Error())
	})
}

// A shutdown ends a connection that was admitted but is not driven yet.
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

// words is a codec with a farewell.
type words struct{ lines }

// A connection ends even if its peer reads neither the queue nor the farewell.
func TestFarewellIsNotRead(t *testing.T) {
	r := epollRig(t, &Loop{MaxQueue: 64 << 10})
	conn, rec, _ := r.connect(t, handlers.Attachment{Codec: &words{}})
	c := conn.(*epollConn)
	start(c, rec)
	for full := 0; full < 10; { // the kernel makes room again while it passes data on
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
	c.loop.poller.schedule(c, c.x.closeBy)
	c.mu.Unlock()
	goneWithin(t, time.Minute, rec)
}

// refused is a client whose OnConnect panics.
type refused struct{ *recorder }

// A connection that ends before epoll watches it still notices that its peer goes.
func TestConnectFails(t *testing.T) {
	eachDriver(t, patient, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		go c.Start(refused{rec})()
		if got, err := io.ReadAll(client); !strings.HasPrefix(string(got), "error:") || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		client.Close()
		goneWithin(t, time.Minute, rec) // soon, not after CloseTimeout
	})
}

// The farewell of a codec may panic too.
type rude struct{ lines }

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

// A slot is not given out twice, and the poller forgets a late connection when it ends.
func TestLateAreForgotten(t *testing.T) {
	r := epollRig(t, &Loop{Timeout: 50 * time.Millisecond})
	recs := make([]*recorder, 50)
	for i := range recs {
		c, rec, _ := r.lines(t)
		start(c, rec)
		recs[i] = rec
	}
	for _, rec := range recs {
		goneWithin(t, time.Minute, rec)
	}
	p := &r.poller
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, c := range p.late[:cap(p.late)] {
		if c != nil {
			t.Errorf("late[%d] is kept", i)
		}
	}
	if len(p.slots.free) != int(p.slots.n) {
		t.Errorf("%d slots, %d free", p.slots.n, len(p.slots.free))
	}
}

// A loop without enough descriptors for an epoll set falls back on goroutines and can be closed.
func TestTooFewDescriptors(t *testing.T) {
	var l Loop
	l.poller.once.Do(func() { l.poller.err = unix.EMFILE })
	server, client := tcpPair(t)
	c, rec := l.New(&fakeConn{nc: server}, handlers.Attachment{Codec: &lines{}}), newRecorder()
	start(c, rec)
	client.Close()
	wantEvents(t, rec, "connect", "disconnect <nil>")
	l.Close()
	l.Wait()
}

func (*words) AppendClose(dst []byte, _ error) []byte { return append(dst, "bye"...) }

func (r refused) Connect(info *handlers.Info) error {
	r.recorder.Connect(info)
	return handlers.ErrPanic
}

func (*rude) AppendClose([]byte, error) []byte { panic("oops") }

// changing is a connection that has changed when the loop asks for its descriptor.
type changing struct {
	fakeConn
	asked bool
}

func (c *changing) NetConn() (net.Conn, error) {
	if !c.asked {
		c.asked = true
		return c.nc, nil
	}
	return struct{ net.Conn }{c.nc}, nil
}

// A connection that has lost its descriptor ends with an error and affects no other.
func TestNoDescriptorAnyMore(t *testing.T) {
	r := epollRig(t, noBounds())
	server, client := tcpPair(t)
	rec := newRecorder()
	start(r.New(&changing{fakeConn: fakeConn{nc: server}}, handlers.Attachment{Codec: &lines{}}), rec)
	mustWrite(t, client, "x\n")
	goneWithin(t, time.Minute, rec)
	if !errors.Is(rec.err, errors.ErrUnsupported) {
		t.Errorf("it ends with %v", rec.err)
	}
	_, otherRec, other := r.echo(t)
	mustWrite(t, other, "x\n")
	mustRead(t, other, "x\n")
	other.Close()
	goneWithin(t, time.Minute, otherRec)
}
