package loop

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// stream is a codec that delivers bytes as they come, and keeps its connection open after the
// peer's FIN.
type stream struct{ lines }

func (*stream) Decode(in []byte, m *handlers.Messages) (int, error) {
	if len(in) > 0 {
		m.Deliver(handlers.Message{Data: in})
	}
	if m.EOF {
		m.Deliver(handlers.Message{Data: []byte("<end>")})
	}
	m.HalfOpen = m.EOF
	return len(in), nil
}

func (*stream) AppendMessage(dst, msg []byte, _ handlers.Kind) []byte { return append(dst, msg...) }

// sleeper is a recorder that is also a handlers.Waker.
type sleeper struct {
	*recorder
	woken func(idle time.Duration, m *handlers.Messages) time.Duration
}

func (s *sleeper) Woken(idle time.Duration, m *handlers.Messages) time.Duration {
	return s.woken(idle, m)
}

// stream is like connect, with that codec.
func (r *rig) stream(t *testing.T) (Conn, *recorder, peer) {
	t.Helper()
	return r.connect(t, handlers.Attachment{Codec: &stream{}})
}

// The peer of a paused connection can send only as much as the kernel buffers, until the connection
// is resumed.
func TestDriversPause(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.stream(t)
		got := make(chan int, 1<<16)
		rec.onMessage = func(m handlers.Message) error {
			if m.String() == "stop" {
				c.Pause()
			}
			got <- len(m.Data)
			return nil
		}
		start(c, rec)
		mustWrite(t, client, "stop")
		<-got
		sent, size := 0, 64<<10
		chunk := make([]byte, size)
		for {
			client.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
			n, err := client.Write(chunk)
			sent += n
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil || sent > 256<<20 {
				t.Fatalf("%d bytes were taken while it was paused, %v", sent, err)
			}
		}
		if len(got) > 0 {
			t.Errorf("%d bytes came while it was paused", <-got)
		}
		if r.tls { // the deadline has broken its last record
			c.Destroy()
			<-rec.gone
			return
		}
		c.Resume()
		client.SetWriteDeadline(time.Time{})
		mustWrite(t, client, "more")
		for want := sent + len("more"); want > 0; {
			select {
			case n := <-got:
				want -= n
			case <-time.After(time.Minute):
				t.Fatalf("%d bytes are missing", want)
			}
		}
		client.Close()
		c.End()
		<-rec.gone
	})
}

// On a paused connection even bytes that were read before it was driven wait, and so does the end.
func TestDriversPauseAtOnce(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.connect(t, handlers.Attachment{Codec: &stream{}, Unread: []byte("before ")})
		connected := make(chan struct{})
		rec.onConnect = func() {
			c.Pause()
			close(connected)
		}
		rec.onMessage = func(m handlers.Message) error {
			if m.String() == "<end>" {
				return c.End()
			}
			return nil
		}
		start(c, rec)
		<-connected
		mustWrite(t, client, "after")
		client.CloseWrite()
		time.Sleep(20 * time.Millisecond)
		if got := rec.events(); len(got) != 1 {
			t.Errorf("events %q while it was paused", got)
		}
		c.Resume()
		<-rec.gone
		if got := strings.Join(rec.events(), ""); got != "connectbefore after<end>disconnect <nil>" {
			t.Errorf("events %q", got)
		}
	})
}

// Shutdown does not wait for paused connections.
func TestDriversPauseShutdown(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.stream(t)
		connected := make(chan struct{})
		rec.onConnect = func() { c.Pause(); close(connected) }
		start(c, rec)
		<-connected
		mustWrite(t, client, "unread")
		go func() { // ends when the loop has closed it
			io.Copy(io.Discard, client)
			client.Close()
		}()
		if err := r.Shutdown(t.Context(), 0); err != nil {
			t.Errorf("Shutdown() = %v", err)
		}
		wantEvents(t, rec, "connect", "disconnect "+handlers.ErrShutdown.Error())
	})
}

// What a callback writes and flushes arrives before it returns.
func TestDriversFlush(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.stream(t)
		rec.onMessage = func(m handlers.Message) error {
			if m.String() != "<end>" {
				c.Send(m.Data, m.Kind)
				c.Flush()
				mustRead(t, client, m.String())
			}
			return c.End()
		}
		start(c, rec)
		mustWrite(t, client, "a")
		client.CloseWrite()
		<-rec.gone
	})
}

// The program takes a connection out of the loop as a net.Conn, and may bring it back.
func TestDriversLeaveByWake(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.stream(t)
		back := newRecorder()
		want := false
		s := &sleeper{rec, func(_ time.Duration, m *handlers.Messages) time.Duration {
			if !want {
				return 0
			}
			m.Hijack = func(nc net.Conn) {
				p := make([]byte, 3)
				if _, err := io.ReadFull(nc, p); err != nil {
					t.Errorf("read: %v", err)
				}
				again := r.New(&fakeConn{nc: nc}, handlers.Attachment{Codec: &stream{}})
				back.onMessage = func(m handlers.Message) error {
					if m.String() == "<end>" {
						return again.End()
					}
					return again.Send(append(p, m.Data...), m.Kind)
				}
				start(again, back)
			}
			return 0
		}}
		rec.onMessage = func(handlers.Message) error {
			want = true
			c.Pause()
			c.Wake(0)
			return c.Send([]byte("in the clear "), handlers.Auto)
		}
		go c.Start(s)() // ends with its first turn, or the connection
		mustWrite(t, client, "go")
		mustRead(t, client, "in the clear ")
		mustWrite(t, client, "abc")
		mustWrite(t, client, "def")
		mustRead(t, client, "abcdef")
		client.CloseWrite()
		wantEvents(t, rec, "connect", "go", "disconnect <nil>")
		wantEvents(t, back, "connect", "def", "<end>", "disconnect <nil>")
	})
}

// A program that tries to take a connection out of the loop after its end gets nil.
func TestDriversLeaveTooLate(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.stream(t)
		took := make(chan net.Conn, 1)
		s := &sleeper{rec, func(_ time.Duration, m *handlers.Messages) time.Duration {
			c.End()
			m.Hijack = func(nc net.Conn) { took <- nc }
			return 0
		}}
		rec.onConnect = func() { c.Wake(0) }
		go c.Start(s)() // ends with its first turn, or the connection
		if nc := <-took; nc != nil {
			t.Errorf("took %v, want nil", nc)
		}
		client.Close()
		<-rec.gone
	})
}

func TestDriversOptions(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.stream(t)
		rec.onConnect = func() {
			for _, err := range []error{c.SetNoDelay(false), c.SetNoDelay(true), c.SetKeepAlive(true, 0), c.SetKeepAlive(true, 1500*time.Millisecond), c.SetKeepAlive(false, 0)} {
				if err != nil {
					t.Error(err)
				}
			}
			c.End()
		}
		start(c, rec)
		client.CloseWrite()
		<-rec.gone
		if err := c.SetNoDelay(true); !errors.Is(err, net.ErrClosed) {
			t.Errorf("SetNoDelay() = %v, want ErrClosed", err)
		}
	})
}

// after is a codec that leaves everything to another one.
type after struct{ lines }

func (*after) Decode([]byte, *handlers.Messages) (int, error) { return 0, nil }

// Woken may change the codec, which then decodes what is left, and more.
func TestDriversWokenNext(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.connect(t, handlers.Attachment{Codec: &after{}, Unread: []byte("a\nb")})
		read := make(chan struct{})
		rec.onMessage = func(m handlers.Message) error {
			if m.String() == "a" {
				close(read)
			}
			return nil
		}
		var once sync.Once
		run := c.Start(&sleeper{rec, func(_ time.Duration, m *handlers.Messages) time.Duration {
			once.Do(func() { m.Next = &lines{} })
			return 0
		}})
		go run() // ends with the connection
		c.Wake(0)
		<-read
		mustWrite(t, client, "\n")
		client.CloseWrite()
		wantEvents(t, rec, "connect", "a", "b", "disconnect <nil>")
	})
}

// A connection that has left the loop is not woken, even in the turn in which it leaves.
func TestDriversWokenNoMore(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		left := make(chan struct{})
		c, rec, client := r.connect(t, handlers.Attachment{Unread: []byte("first\n"), Codec: &quits{take: func(nc net.Conn) {
			nc.Close()
			close(left)
		}}})
		run := c.Start(&sleeper{rec, func(time.Duration, *handlers.Messages) time.Duration {
			if got := rec.events(); len(got) != 1 {
				t.Errorf("it is woken after %q", got)
			}
			return 0
		}})
		go run() // ends with the connection
		<-left
		client.Close()
		wantEvents(t, rec, "connect", "first", "disconnect <nil>")
		within(t, time.Minute, "its turn has ended", func() bool { return r.Len() == 0 })
	})
}

// Halt ends the connections that it is told to, once what their peers have sent is served, and no
// other.
func TestDriversHalt(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		start(c, rec)
		other, stays, its := r.lines(t)
		start(other, stays)
		mustWrite(t, client, "a\n")
		r.Halt(func(ev Events) bool { return ev == Events(rec) })
		if _, err := io.ReadAll(client); err != nil {
			t.Error(err)
		}
		client.Close()
		wantEvents(t, rec, "connect", "a", "disconnect "+handlers.ErrShutdown.Error())
		mustWrite(t, its, "b\n")
		its.Close()
		wantEvents(t, stays, "connect", "b", "disconnect <nil>")
		c, rec, client = r.lines(t) // the loop still takes connections
		start(c, rec)
		client.Close()
		wantEvents(t, rec, "connect", "disconnect <nil>")
	})
}
