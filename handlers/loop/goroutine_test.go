package loop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

func TestEchoInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Loop
		c, r, client := pipe(&l)
		r.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
		start(c, r)
		mustWrite(t, client, "a\nb\nta")
		mustRead(t, client, "a\nb\n")
		mustWrite(t, client, "il\n")
		mustRead(t, client, "tail\n")
		client.Close()
		wantEvents(t, r, "connect", "a", "b", "tail", "disconnect <nil>")
		if got := l.Len(); got != 0 {
			t.Errorf("Len() = %d, want 0", got)
		}
	})
}

func TestIdleTimeout(t *testing.T) {
	tests := []struct {
		name string
		busy func(c Conn, client net.Conn)
		want time.Duration // until the connection is closed
	}{
		{"silence", func(Conn, net.Conn) {}, time.Minute},
		{"reading restarts it", func(_ Conn, client net.Conn) {
			time.Sleep(50 * time.Second)
			io.WriteString(client, "x\n")
		}, 110 * time.Second},
		{"writing restarts it", func(c Conn, client net.Conn) {
			time.Sleep(50 * time.Second)
			c.Send([]byte("y"), handlers.Auto)
		}, 110 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := Loop{Timeout: time.Minute}
				c, r, client := pipe(&l)
				began := time.Now()
				start(c, r)
				go io.Copy(io.Discard, client)
				tt.busy(c, client)
				<-r.gone
				if got := time.Since(began); got != tt.want {
					t.Errorf("gone after %v, want %v", got, tt.want)
				}
				if got, want := r.events()[len(r.events())-1], "disconnect idle timeout"; got != want {
					t.Errorf("last event %q, want %q", got, want)
				}
			})
		})
	}
}

func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Loop{MaxQueue: 10, Timeout: time.Minute}
		c, r, client := pipe(&l)
		start(c, r)
		synctest.Wait()
		for i := range 3 { // the first is being sent to the peer, the second fills the queue
			err := c.TrySend([]byte("0123456789"), handlers.Auto)
			synctest.Wait()
			if want := i == 2; errors.Is(err, handlers.ErrSlow) != want {
				t.Errorf("TrySend %d = %v, want slow: %t", i, err, want)
			}
		}
		sent := make(chan error, 1)
		go func() { sent <- c.Send([]byte("waits"), handlers.Auto) }()
		synctest.Wait()
		select {
		case err := <-sent:
			t.Fatalf("Send = %v while the queue is full, want it to wait", err)
		default:
		}
		mustRead(t, client, "0123456789\n0123456789\nwaits\n")
		if err := <-sent; err != nil {
			t.Errorf("Send = %v after the peer has read", err)
		}
		for c.TrySend(make([]byte, 20), handlers.Auto) == nil {
			synctest.Wait()
		}
		<-r.gone // nobody reads, so the write deadline ends the connection
		if got, want := r.events()[1], "disconnect "+handlers.ErrSlow.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if err := c.Send(nil, handlers.Auto); !errors.Is(err, handlers.ErrClosed) {
			t.Errorf("Send after the end = %v, want ErrClosed", err)
		}
		client.Close()
	})
}

func TestDestroyWakesWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Loop{MaxQueue: 1}
		c, r, client := pipe(&l)
		start(c, r)
		sent := make(chan error)
		for range 3 {
			go func() { sent <- c.Send([]byte("x"), handlers.Auto) }()
			synctest.Wait()
		}
		c.Destroy()
		var closed int
		for range 3 {
			if err := <-sent; errors.Is(err, handlers.ErrClosed) {
				closed++
			}
		}
		if closed == 0 {
			t.Error("no Send was waiting")
		}
		wantEvents(t, r, "connect", "disconnect <nil>")
		client.Close()
	})
}

// What a callback writes is sent when the callback returns. If that takes long, it is sent after a
// short time.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Loop
		c, r, client := pipe(&l)
		r.onMessage = func(handlers.Message) error {
			c.Send([]byte("one"), handlers.Auto)
			time.Sleep(time.Minute)
			c.Send([]byte("two"), handlers.Auto)
			return nil
		}
		start(c, r)
		began := time.Now()
		mustWrite(t, client, "go\n")
		mustRead(t, client, "one\n")
		if got := time.Since(began); got > 10*time.Millisecond {
			t.Errorf("the first line took %v", got)
		}
		mustRead(t, client, "two\n")
		client.Close()
		<-r.gone
	})
}

func TestFailedEventEndsTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Loop
		c, r, client := pipe(&l)
		r.onMessage = func(handlers.Message) error { return handlers.ErrPanic }
		start(c, r)
		mustWrite(t, client, "a\nb\n")
		if _, err := io.ReadAll(client); err != nil {
			t.Error(err)
		}
		wantEvents(t, r, "connect", "a", "disconnect "+handlers.ErrPanic.Error())
	})
}

func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Loop
		idle, idleEvents, idleClient := pipe(&l)
		start(idle, idleEvents)
		busy, busyEvents, busyClient := pipe(&l)
		busyEvents.onMessage = func(m handlers.Message) error { return busy.Send(m.Data, m.Kind) }
		start(busy, busyEvents)
		go func() {
			io.Copy(io.Discard, idleClient)
			idleClient.Close()
		}()
		go func() { // what it sends during the shutdown is still served
			for i := range 10 {
				time.Sleep(quiet / 2)
				fmt.Fprintln(busyClient, i)
				io.ReadFull(busyClient, make([]byte, len(fmt.Sprintln(i))))
			}
			io.Copy(io.Discard, busyClient)
		}()
		if err := l.Shutdown(t.Context(), time.Millisecond); err != nil {
			t.Errorf("Shutdown() = %v", err)
		}
		end := "disconnect " + handlers.ErrShutdown.Error()
		wantEvents(t, idleEvents, "connect", end)
		wantEvents(t, busyEvents, "connect", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", end)
		late, lateEvents, lateClient := pipe(&l)
		start(late, lateEvents)
		wantEvents(t, lateEvents, end)
		busyClient.Close()
		lateClient.Close()
	})
}

func TestShutdownDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Loop
		c, r, client := pipe(&l)
		r.onMessage = func(handlers.Message) error {
			c.Send(make([]byte, 1<<20), handlers.Auto)
			return c.Send([]byte("never read"), handlers.Auto)
		}
		start(c, r)
		mustWrite(t, client, "go\n")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Shutdown(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown() = %v, want DeadlineExceeded", err)
		}
		<-r.gone
		client.Close()
	})
}

// shout is the codec after the upgrade.
type shout struct{ lines }

func (s *shout) AppendMessage(dst, msg []byte, _ handlers.Kind) []byte {
	return append(append(dst, strings.ToUpper(string(msg))...), '!')
}

// shake is a codec of a handshake: it answers "hello\n" and attaches the client.
type shake struct{ lines }

func (s *shake) Decode(in []byte, m *handlers.Messages) (int, error) {
	if len(in) < 6 {
		return 0, nil
	}
	if string(in[:6]) != "hello\n" {
		m.Reply = append(m.Reply, "no\n"...)
		return 0, handlers.ErrProtocol
	}
	m.Reply = append(m.Reply, "yes\n"...)
	m.Next = &shout{}
	m.Connect(&handlers.Info{Protocol: "shout"})
	return 6, nil
}

func TestUnreadComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Loop
		server, client := net.Pipe()
		long := strings.Repeat("x", 12<<10)
		c := l.New(&fakeConn{nc: server}, handlers.Attachment{Codec: &lines{}, Unread: []byte("a\n" + long)})
		r := newRecorder()
		start(c, r)
		mustWrite(t, client, "y\nz\n")
		client.Close()
		wantEvents(t, r, "connect", "a", long+"y", "z", "disconnect <nil>")
	})
}

// answers is a codec that answers each byte with a hundred.
type answers struct{ lines }

func (*answers) Decode(in []byte, m *handlers.Messages) (int, error) {
	m.Reply = append(m.Reply, strings.Repeat("x", 100*len(in))...)
	return len(in), nil
}

// The loop stops reading from a peer that goes on asking and does not read the answers, even if
// another goroutine waits for the peer.
func TestAnswersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Loop{MaxQueue: 1000}
		server, client := net.Pipe()
		c := l.New(&fakeConn{nc: server}, handlers.Attachment{Codec: &answers{}})
		r := newRecorder()
		start(c, r)
		if err := c.TrySend([]byte("in the way"), handlers.Auto); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		asked := make(chan int)
		go func() { // ends when the peer closes
			n := 0
			for ; n < 1000; n++ {
				if _, err := client.Write([]byte("?")); err != nil {
					break
				}
			}
			asked <- n
		}()
		synctest.Wait()
		client.Close()
		if n := <-asked; n > 20 {
			t.Errorf("%d questions were taken", n)
		}
		<-r.gone
	})
}

// What was sent before a shutdown is served, even if the deadline of the first Read passes before
// it begins.
func TestShutdownLooksOnceMore(t *testing.T) {
	t.Parallel()
	server, client := tcpPair(t)
	late := &lateConn{TCPConn: server}
	l := Loop{Driver: Goroutines}
	c, rec := l.New(&fakeConn{nc: late}, handlers.Attachment{Codec: &lines{}}), newRecorder()
	rec.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
	mustWrite(t, client, "a\n")
	run := c.Start(rec)
	go func() { // ends with the connection
		io.Copy(io.Discard, client)
		client.Close()
	}()
	c.(ender).halt()
	run()
	wantEvents(t, rec, "connect", "a", "disconnect "+handlers.ErrShutdown.Error())
}

// lateConn is a connection on a very busy machine: the first deadline passes before its Read
// begins.
type lateConn struct {
	*net.TCPConn
	reads int
}

func (c *lateConn) Read(p []byte) (int, error) {
	if c.reads++; c.reads == 1 {
		time.Sleep(2 * quiet)
	}
	return c.TCPConn.Read(p)
}
