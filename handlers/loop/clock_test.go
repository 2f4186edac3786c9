package loop

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// clock is a loop whose time the test advances, so that the load of the machine does not matter.
type clock struct {
	*Loop
	pass   func(d time.Duration)
	client func(t *testing.T) (server handlers.Conn, client net.Conn)
	finish func(client net.Conn) // sends FIN
	// settle waits until the loop has noticed that a message has begun or, if begun is false, that
	// none has.
	settle func(t *testing.T, c Conn, begun bool)
}

// clocks runs a test with each driver.
var clocks = map[string]func(t *testing.T, l *Loop, f func(t *testing.T, k *clock)){
	"goroutines": func(t *testing.T, l *Loop, f func(t *testing.T, k *clock)) {
		synctest.Test(t, func(t *testing.T) {
			l.Driver = Goroutines
			finish := func(client net.Conn) { io.WriteString(client, "\x04") }
			f(t, &clock{l, time.Sleep, pipeClient, finish, func(*testing.T, Conn, bool) { synctest.Wait() }})
			l.Close()
			l.Wait()
		})
	},
}

func eachClock(t *testing.T, l func() *Loop, f func(t *testing.T, k *clock)) {
	t.Parallel()
	for name, run := range clocks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, l(), f)
		})
	}
}

// connect returns a driven connection, which is not started.
func (k *clock) connect(t *testing.T, a handlers.Attachment) (Conn, *recorder, net.Conn) {
	t.Helper()
	server, client := k.client(t)
	return k.New(server, a), newRecorder(), client
}

// echo starts a connection of lines that echoes, and checks that it does.
func (k *clock) echo(t *testing.T) (Conn, *recorder, net.Conn) {
	t.Helper()
	c, rec, client := k.connect(t, handlers.Attachment{Codec: &lines{}})
	rec.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
	start(c, rec)
	ask(t, client)
	return c, rec, client
}

func ask(t *testing.T, client net.Conn) {
	t.Helper()
	mustWrite(t, client, "x\n")
	mustRead(t, client, "x\n")
}

// sees waits until r has recorded n events.
func (r *recorder) sees(t *testing.T, n int) {
	t.Helper()
	within(t, time.Minute, "an event", func() bool { return len(r.events()) >= n })
}

// pipeClient returns a pipe, on which the byte 0x04 stands for FIN.
func pipeClient(t *testing.T) (handlers.Conn, net.Conn) {
	server, client := net.Pipe()
	t.Cleanup(func() { client.Close() })
	return &fakeConn{nc: &finConn{Conn: server}}, client
}

type finConn struct {
	net.Conn
	fin atomic.Bool
}

func (c *finConn) Read(p []byte) (int, error) {
	if c.fin.Load() {
		return 0, io.EOF
	}
	n, err := c.Conn.Read(p)
	if n > 0 && p[n-1] == 4 {
		c.fin.Store(true)
		if n--; n == 0 {
			return 0, io.EOF
		}
	}
	return n, err
}

// A client is disconnected when it has been idle for Timeout, and not before. Each byte that it
// sends starts that time again.
func TestClockIdle(t *testing.T) {
	eachClock(t, func() *Loop { return &Loop{Timeout: time.Hour} }, func(t *testing.T, k *clock) {
		_, rec, client := k.echo(t)
		for range 5 {
			k.pass(50 * time.Minute)
			ask(t, client)
		}
		k.pass(time.Hour + time.Second)
		wantEvents(t, rec, "connect", "x", "x", "x", "x", "x", "x", "disconnect "+handlers.ErrTimeout.Error())
	})
}

// Each of many connections is ended in time: TRAPS part 3, row 10.
func TestTraps3Row10Deadlines(t *testing.T) {
	eachClock(t, func() *Loop { return &Loop{Timeout: 5 * time.Hour} }, func(t *testing.T, k *clock) {
		const n = 20
		var recs []*recorder
		for range n {
			_, rec, _ := k.echo(t)
			recs = append(recs, rec)
			k.pass(10 * time.Minute)
		}
		k.pass(95 * time.Minute)
		for i, rec := range recs {
			if got := k.Len(); got != n-i {
				t.Errorf("%d connections are left, want %d", got, n-i)
			}
			k.pass(6 * time.Minute)
			goneWithin(t, time.Minute, rec)
			within(t, time.Minute, "it is not counted", func() bool { return k.Len() < n-i })
			k.pass(4 * time.Minute)
		}
	})
}

// A client that drips a message is disconnected at MessageTimeout, whether the loop or the codec
// keeps the beginning: TRAPS part 3, row 9, and part 4, row 22.
func TestTraps4Row22MessageTimeout(t *testing.T) {
	for _, idle := range []time.Duration{0, 3 * time.Hour} {
		for name, codec := range map[string]func() handlers.Codec{
			"lines":     func() handlers.Codec { return &lines{} },
			"gathering": func() handlers.Codec { return &gathering{} },
		} {
			t.Run(name, func(t *testing.T) {
				eachClock(t, func() *Loop { return &Loop{MessageTimeout: time.Hour, Timeout: idle} }, func(t *testing.T, k *clock) {
					c, rec, client := k.connect(t, handlers.Attachment{Codec: codec()})
					start(c, rec)
					mustWrite(t, client, "x")
					k.settle(t, c, true)
					for range 5 {
						k.pass(11 * time.Minute)
						mustWrite(t, client, "x")
					}
					if got := k.Len(); got != 1 {
						t.Errorf("it has ended after 55 minutes: %q", rec.events())
					}
					k.pass(6 * time.Minute)
					wantEvents(t, rec, "connect", "disconnect "+handlers.ErrTimeout.Error())
				})
			})
		}
	}
}

// MessageTimeout counts for each message separately, even if a message begins in the segment in
// which the one before it ends. Between two messages it does not count.
func TestClockMessageTimeoutOfEach(t *testing.T) {
	eachClock(t, func() *Loop { return &Loop{MessageTimeout: time.Hour} }, func(t *testing.T, k *clock) {
		c, rec, client := k.connect(t, handlers.Attachment{Codec: &lines{}})
		start(c, rec)
		for i := range 4 {
			mustWrite(t, client, "tail\nhead")
			rec.sees(t, i+2)
			k.pass(40 * time.Minute)
		}
		mustWrite(t, client, "\n")
		rec.sees(t, 6)
		k.settle(t, c, false)
		k.pass(3 * time.Hour)
		mustWrite(t, client, "last\n")
		rec.sees(t, 7)
		client.Close()
		wantEvents(t, rec, "connect", "tail", "headtail", "headtail", "headtail", "head", "last", "disconnect <nil>")
	})
}

// Woken gets the time for which the connection has been idle, and the connection goes on.
func TestClockWake(t *testing.T) {
	eachClock(t, noBounds, func(t *testing.T, k *clock) {
		const quiet = time.Hour
		c, rec, client := k.connect(t, handlers.Attachment{Codec: &stream{}})
		told := make(chan time.Duration, 1)
		s := &sleeper{rec, func(idle time.Duration, _ *handlers.Messages) time.Duration {
			if idle < quiet {
				return quiet - idle
			}
			told <- idle
			return 0
		}}
		rec.onConnect = func() { c.Wake(quiet) }
		rec.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
		go c.Start(s)() // ends with its first turn, or the connection
		for range 3 {
			ask(t, client)
			k.pass(quiet + time.Second)
			if idle := <-told; idle < quiet {
				t.Errorf("idle for %v, want %v at least", idle, quiet)
			}
			c.Wake(0)
			if idle := <-told; idle < quiet {
				t.Errorf("idle for %v, want %v at least", idle, quiet)
			}
			ask(t, client)
			c.Wake(quiet)
		}
		client.Close()
		c.Destroy()
		<-rec.gone
		c.Wake(0)
		c.Wake(time.Hour)
	})
}

// A half-open connection may be idle as long as any other.
func TestClockHalfOpenIdle(t *testing.T) {
	eachClock(t, func() *Loop { return &Loop{Timeout: time.Hour} }, func(t *testing.T, k *clock) {
		c, rec, client := k.connect(t, handlers.Attachment{Codec: &stream{}})
		start(c, rec)
		mustWrite(t, client, "a")
		k.finish(client)
		rec.sees(t, 3)
		k.pass(55 * time.Minute)
		if err := c.Send([]byte("b"), handlers.Auto); err != nil {
			t.Error(err)
		}
		mustRead(t, client, "b")
		k.pass(55 * time.Minute)
		if k.Len() != 1 {
			t.Errorf("it has ended: %q", rec.events())
		}
		k.pass(10 * time.Minute)
		wantEvents(t, rec, "connect", "a", "<end>", "disconnect "+handlers.ErrTimeout.Error())
	})
}

// A handshake has its own deadline, which ends with the handshake.
func TestClockUpgrade(t *testing.T) {
	eachClock(t, func() *Loop { return &Loop{HandshakeTimeout: time.Hour} }, func(t *testing.T, k *clock) {
		begin := func() (Conn, *recorder, net.Conn) {
			c, rec, client := k.connect(t, handlers.Attachment{Codec: &shake{}, Handshake: true})
			rec.onConnect = func() { c.Send([]byte("welcome"), handlers.Auto) }
			start(c, rec)
			return c, rec, client
		}
		_, rec, client := begin()
		mustWrite(t, client, "hello\nmore\n")
		mustRead(t, client, "yes\nWELCOME!")
		c, stopped, silent := begin()
		mustWrite(t, silent, "hel")
		k.settle(t, c, true)
		k.pass(50 * time.Minute)
		if k.Len() != 2 {
			t.Error("an end before the deadline")
		}
		k.pass(11 * time.Minute)
		wantEvents(t, stopped, "disconnect "+handlers.ErrTimeout.Error())
		client.Close()
		wantEvents(t, rec, "connect", "more", "disconnect <nil>")
		_, rec, client = begin()
		go io.WriteString(client, "garbage\n") // ends when it is read
		mustRead(t, client, "no\n")
		client.Close()
		wantEvents(t, rec, "disconnect "+handlers.ErrProtocol.Error())
	})
}

// A client that does not read is disconnected in the end, even if its own callback waits in Send,
// in its first turn or later.
func TestClockSlowReader(t *testing.T) {
	slow := func() *Loop { return &Loop{MaxQueue: 64 << 10, Timeout: time.Hour, CloseTimeout: time.Minute} }
	for _, where := range []string{"outside", "OnConnect", "OnMessage"} {
		t.Run(where, func(t *testing.T) {
			eachClock(t, slow, func(t *testing.T, k *clock) {
				c, rec, client := k.connect(t, handlers.Attachment{Codec: &lines{}})
				ended := make(chan error, 1)
				flood := func() {
					for {
						if err := c.Send(make([]byte, 8<<10), handlers.Auto); err != nil {
							ended <- err
							return
						}
					}
				}
				if where == "OnConnect" {
					rec.onConnect = flood
				}
				rec.onMessage = func(handlers.Message) error {
					flood()
					return nil
				}
				start(c, rec)
				if where == "OnMessage" {
					mustWrite(t, client, "go\n")
				} else if rec.sees(t, 1); where == "outside" {
					go flood()
				}
				full := func() bool { return c.TrySend(make([]byte, 8<<10), handlers.Auto) == handlers.ErrSlow }
				within(t, time.Minute, "the queue is full", full)
				for gone := false; !gone; {
					k.pass(20 * time.Minute)
					select {
					case err := <-ended:
						if gone = true; err != handlers.ErrClosed {
							t.Errorf("Send() = %v, want ErrClosed", err)
						}
					case <-time.After(5 * time.Millisecond): // the kernel may take some more
					}
				}
				k.pass(time.Minute + time.Second) // CloseTimeout
				goneWithin(t, time.Minute, rec)
				all := rec.events()
				if got, want := all[len(all)-1], "disconnect "+handlers.ErrSlow.Error(); got != want {
					t.Errorf("last event %q, want %q", got, want)
				}
			})
		})
	}
}
