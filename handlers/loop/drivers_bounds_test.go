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

func TestDriversIdleTimeout(t *testing.T) {
	const timeout = 200 * time.Millisecond
	eachDriver(t, func() *Loop { return &Loop{Timeout: timeout} }, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		rec.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
		start(c, rec)
		began := time.Now()
		for time.Since(began) < 2*timeout { // activity puts it off
			mustWrite(t, client, "x\n")
			mustRead(t, client, "x\n")
		}
		if got, err := io.ReadAll(client); len(got) > 0 || err != nil {
			t.Errorf("read %q, %v, want the end", got, err)
		}
		<-rec.gone
		all := rec.events()
		if got, want := all[len(all)-1], "disconnect idle timeout"; got != want {
			t.Errorf("last event %q, want %q", got, want)
		}
	})
}

// A client that does not read fills its queue: Send waits for it, TrySend does not, and in the end it is too slow.
func TestDriversSlowReader(t *testing.T) {
	slow := func() *Loop { return &Loop{MaxQueue: 64 << 10, Timeout: time.Second} }
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
		for !errors.Is(c.TrySend(line, handlers.Auto), handlers.ErrClosed) {
			time.Sleep(time.Millisecond) // nobody reads: its time is up soon
		}
		<-rec.gone
		if got, want := rec.events()[1], "disconnect "+handlers.ErrSlow.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if err := c.Send(nil, handlers.Auto); !errors.Is(err, handlers.ErrClosed) {
			t.Errorf("Send after the end = %v, want ErrClosed", err)
		}
	})
}

// A client that does not read ends the Send that its own callback waits in, also in its first turn.
func TestDriversSlowReaderInItsCallback(t *testing.T) {
	slow := func() *Loop { return &Loop{MaxQueue: 64 << 10, Timeout: 500 * time.Millisecond} }
	for name, at := range map[string]string{"OnConnect": "connect", "OnMessage": "message"} {
		t.Run(name, func(t *testing.T) {
			eachDriver(t, slow, func(t *testing.T, r *rig) {
				c, rec, client := r.lines(t)
				ended := make(chan error, 1)
				flood := func() {
					line := bytes.Repeat([]byte("0"), 8<<10)
					for {
						if err := c.Send(line, handlers.Auto); err != nil {
							ended <- err
							return
						}
					}
				}
				if at == "connect" {
					rec.onConnect = flood
				} else {
					rec.onMessage = func(handlers.Message) error {
						flood()
						return nil
					}
				}
				start(c, rec)
				mustWrite(t, client, "go\n")
				select {
				case err := <-ended:
					if !errors.Is(err, handlers.ErrClosed) {
						t.Errorf("Send = %v, want ErrClosed", err)
					}
				case <-time.After(15 * time.Second):
					t.Error("Send waits for ever")
					c.Destroy()
				}
				<-rec.gone
				all := rec.events()
				if got, want := all[len(all)-1], "disconnect "+handlers.ErrSlow.Error(); got != want {
					t.Errorf("last event %q, want %q", got, want)
				}
			})
		})
	}
}

// A callback that does not return keeps a shutdown no longer than its context lasts.
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
		case <-time.After(15 * time.Second):
			t.Error("Shutdown waits for the callback")
		}
		close(release)
		<-rec.gone
	})
}

// A peer that asks and does not read is not read either.
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

// counting answers each byte with a hundred, and counts them.
type counting struct {
	answers
	n *atomic.Int64
}

func (c *counting) Decode(in []byte, m *handlers.Messages) (int, error) {
	c.n.Add(int64(len(in)))
	return c.answers.Decode(in, m)
}
