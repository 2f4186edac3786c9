package loop

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// If a client does not read, its queue fills. Send then waits, and TrySend does not.
// TestClockSlowReader tests the end of such a client.
func TestDriversSlowReader(t *testing.T) {
	slow := func() *Loop { return &Loop{MaxQueue: 64 << 10, Timeout: time.Hour} }
	eachDriver(t, slow, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		start(c, rec)
		line := bytes.Repeat([]byte("0"), 8<<10)
		tries := 0
		for ; c.TrySend(line, handlers.Auto) == nil && tries < 10000; tries++ {
		}
		if err := c.TrySend(line, handlers.Auto); !errors.Is(err, handlers.ErrSlow) {
			t.Fatalf("TrySend = %v after %d lines, want ErrSlow", err, tries)
		}
		sent := make(chan error, 1)
		go func() { sent <- c.Send([]byte("waits"), handlers.Auto) }()
		got := make([]byte, tries*(len(line)+1))
		if _, err := io.ReadFull(client, got); err != nil {
			t.Fatal(err)
		}
		mustRead(t, client, "waits\n")
		if err := <-sent; err != nil {
			t.Errorf("Send = %v after the peer has read", err)
		}
		client.Close()
		wantEvents(t, rec, "connect", "disconnect <nil>")
		if err := c.Send(nil, handlers.Auto); !errors.Is(err, handlers.ErrClosed) {
			t.Errorf("Send after the end = %v, want ErrClosed", err)
		}
	})
}

// A callback that does not return delays a shutdown only until its context ends.
func TestDriversShutdownOfABlockedCallback(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		in, release := make(chan struct{}), make(chan struct{})
		rec.onMessage = func(handlers.Message) error {
			close(in)
			<-release
			return nil
		}
		start(c, rec)
		mustWrite(t, client, "go\n")
		<-in
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		down := make(chan error, 1)
		go func() { down <- r.Shutdown(ctx, 0) }()
		select {
		case err := <-down:
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Shutdown() = %v, want DeadlineExceeded", err)
			}
		case <-time.After(time.Minute):
			t.Error("Shutdown waits for the callback")
		}
		close(release)
		<-rec.gone
	})
}

// The loop stops reading from a peer that goes on asking and does not read the answers.
func TestDriversAnswersAreBounded(t *testing.T) {
	eachDriver(t, func() *Loop { return &Loop{MaxQueue: 1000} }, func(t *testing.T, r *rig) {
		var taken atomic.Int64
		c, rec, client := r.connect(t, handlers.Attachment{Codec: &counting{n: &taken}})
		start(c, rec)
		client.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		for {
			if _, err := client.Write(bytes.Repeat([]byte("?"), 4<<10)); err != nil {
				break
			}
		}
		if n := taken.Load(); n > 4<<20 {
			t.Errorf("%d questions were taken: their answers are %d MiB", n, n*100>>20)
		}
		c.Destroy()
		<-rec.gone
	})
}

// The protocol's own answers, such as pongs, take little room in the queue of a peer that does not
// read. All of them arrive when it reads.
func TestDriversRepliesTakeLittle(t *testing.T) {
	eachDriver(t, func() *Loop { return &Loop{} }, func(t *testing.T, r *rig) {
		c, rec, client := r.connect(t, handlers.Attachment{Codec: &echoing{}})
		start(c, rec)
		sent := 0
		client.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		for {
			n, err := client.Write(bytes.Repeat([]byte("?"), 64<<10))
			if sent += n; err != nil {
				break
			}
		}
		if n := c.(interface{ queued() int }).queued(); n > 256<<10 {
			t.Errorf("%d bytes of answers are queued", n)
		}
		client.SetReadDeadline(time.Now().Add(time.Minute))
		if n, err := io.CopyN(io.Discard, client, int64(sent)); err != nil {
			t.Errorf("%d of %d bytes are answered, %v", n, sent, err)
		}
		c.Destroy()
		<-rec.gone
	})
}

// queued returns how many bytes wait for the peer.
func (c *goConn) queued() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.out)
}

// echoing is a codec that sends each byte back.
type echoing struct{ lines }

func (*echoing) Decode(in []byte, m *handlers.Messages) (int, error) {
	m.Reply = append(m.Reply, in...)
	return len(in), nil
}

// counting is a codec that answers each byte with a hundred, and counts the bytes.
type counting struct {
	answers
	n *atomic.Int64
}

func (c *counting) Decode(in []byte, m *handlers.Messages) (int, error) {
	c.n.Add(int64(len(in)))
	return c.answers.Decode(in, m)
}
