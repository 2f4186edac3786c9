package loop

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// quits is a codec that gives its connection back after the first line.
type quits struct {
	lines
	take func(net.Conn)
}

// A codec gives its connection back as a net.Conn. What was written before is sent first, and
// reading begins with the bytes that were not decoded.
func TestDriversLeave(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		echoed := make(chan error, 1)
		take := func(nc net.Conn) {
			defer nc.Close()
			_, err := io.Copy(nc, nc)
			echoed <- err
		}
		c, rec, client := r.connect(t, handlers.Attachment{Codec: &quits{take: take}})
		rec.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
		start(c, rec)
		long := strings.Repeat("y", 100<<10)
		go func() { // ends when it is read
			mustWrite(t, client, "first\nrest "+long)
			mustWrite(t, client, " and more")
			client.CloseWrite()
		}()
		mustRead(t, client, "first\nleaving\nrest "+long+" and more")
		if err := <-echoed; err != nil {
			t.Error(err)
		}
		wantEvents(t, rec, "connect", "first", "disconnect <nil>")
		if err := c.Send(nil, handlers.Auto); !errors.Is(err, handlers.ErrClosed) {
			t.Errorf("Send() = %v, want ErrClosed", err)
		}
	})
}

// chunk is a feed of messages of one size.
type chunk struct {
	size    int
	drained chan struct{}
}

func newChunk(size int) *chunk { return &chunk{size: size, drained: make(chan struct{}, 2)} }

func (f *chunk) End(n int) int { return (n + f.size - 1) / f.size * f.size }
func (f *chunk) Drained()      { f.drained <- struct{}{} }

// fill feeds c until it accepts no more.
func (f *chunk) fill(t *testing.T, c Conn) {
	t.Helper()
	line := append(bytes.Repeat([]byte("."), f.size-1), '\n')
	for range 10000 {
		switch n, err := c.Feed(line, f); {
		case err != nil:
			t.Fatal(err)
		case n == 0:
			return
		}
	}
	t.Fatal("it is never full")
}

func (f *chunk) wantDrained(t *testing.T) {
	t.Helper()
	select {
	case <-f.drained:
	case <-time.After(time.Minute):
		t.Fatal("not told that it can go on")
	}
}

// A feed learns that its connection was destroyed, even if a callback of the client has not
// returned.
func TestDriversFeedEnds(t *testing.T) {
	for _, end := range []struct {
		name string
		end  func(c Conn)
	}{{"destroyed", Conn.Destroy}, {"quit", func(c Conn) { c.Quit(handlers.ErrSlow); c.Destroy() }}} {
		t.Run(end.name, func(t *testing.T) {
			eachDriver(t, noBounds, func(t *testing.T, r *rig) {
				c, rec, client := r.lines(t)
				blocks, release := make(chan struct{}), make(chan struct{})
				rec.onMessage = func(handlers.Message) error {
					close(blocks)
					<-release
					return nil
				}
				start(c, rec)
				mustWrite(t, client, "block\n")
				<-blocks
				time.Sleep(20 * time.Millisecond) // the loop regards the callback as stuck
				f := newChunk(64 << 10)
				f.fill(t, c)
				end.end(c)
				f.wantDrained(t)
				if _, err := c.Feed([]byte("x\n"), f); !errors.Is(err, handlers.ErrClosed) {
					t.Errorf("Feed() = %v, want ErrClosed", err)
				}
				close(release)
				<-rec.gone
				if len(f.drained) > 0 {
					t.Error("told twice")
				}
			})
		})
	}
}

func (q *quits) Decode(in []byte, m *handlers.Messages) (int, error) {
	i := bytes.IndexByte(in, '\n')
	if i < 0 {
		return 0, nil
	}
	m.Deliver(handlers.Message{Data: in[:i]})
	m.Reply = append(m.Reply, "leaving\n"...)
	m.Hijack = q.take
	return i + 1, nil
}

// A program that takes a connection and keeps it delays a shutdown until the end of its context,
// which closes the connection. A panic of the program closes the connection and frees its slot.
func TestDriversLeaveForLong(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		panicked := make(chan error, 1)
		r.Panicked = func(err error) { panicked <- err }
		c, rec, client := r.connect(t, handlers.Attachment{Codec: &quits{take: func(net.Conn) { panic("oops") }}})
		start(c, rec)
		mustWrite(t, client, "first\n")
		if p, ok := errors.AsType[*handlers.PanicError](<-panicked); !ok || p.Value != "oops" {
			t.Errorf("panicked with %v", p)
		}
		mustRead(t, client, "leaving\n")
		if _, err := client.Read(make([]byte, 1)); err == nil {
			t.Error("it is still open")
		}
		<-rec.gone
		took := make(chan struct{})
		c, rec, client = r.connect(t, handlers.Attachment{Codec: &quits{take: func(nc net.Conn) {
			close(took)
			io.Copy(io.Discard, nc)
		}}})
		start(c, rec)
		mustWrite(t, client, "first\n")
		<-took
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := r.Shutdown(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown() = %v, want DeadlineExceeded", err)
		}
		<-rec.gone
	})
}
