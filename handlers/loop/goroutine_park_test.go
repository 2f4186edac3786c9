package loop

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// lot is a Parking with one connection.
type lot struct {
	mu     sync.Mutex
	parked bool
}

func (l *lot) Park() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parked = true
}

func (l *lot) Take() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.parked
	l.parked = false
	return was
}

func parkedPipe(l *Loop) (Conn, *recorder, *lot, net.Conn) {
	server, client := net.Pipe()
	c := l.New(&fakeConn{nc: server}, handlers.Attachment{Codec: &lines{}})
	return c, newRecorder(), &lot{}, client
}

func TestParkedUntil(t *testing.T) {
	tests := []struct {
		name   string
		act    func(t *testing.T, c Conn, lot *lot, client net.Conn)
		events []string
	}{
		{"the program writes", func(t *testing.T, c Conn, lot *lot, client net.Conn) {
			c.Send([]byte("hi"), handlers.Auto)
			mustRead(t, client, "hi\n")
			mustWrite(t, client, "a\n")
			client.Close()
		}, []string{"connect", "a", "disconnect <nil>"}},
		{"the program ends it", func(t *testing.T, c Conn, lot *lot, client net.Conn) {
			c.End()
			client.Close()
		}, []string{"connect", "disconnect <nil>"}},
		{"the program destroys it", func(t *testing.T, c Conn, lot *lot, client net.Conn) {
			c.Destroy()
		}, []string{"connect", "disconnect <nil>"}},
		{"it is adopted", func(t *testing.T, c Conn, lot *lot, client net.Conn) {
			lot.Take()
			c.Adopt(&lines{})
			mustWrite(t, client, "b\n")
			client.Close()
		}, []string{"connect", "b", "disconnect <nil>"}},
		{"it is adopted after the program has written", func(t *testing.T, c Conn, lot *lot, client net.Conn) {
			lot.Take()
			c.Send([]byte("banner"), handlers.Auto)
			synctest.Wait()
			c.Adopt(&lines{})
			mustRead(t, client, "banner\n")
			client.Close()
		}, []string{"connect", "disconnect <nil>"}},
		{"it is retired", func(t *testing.T, c Conn, lot *lot, client net.Conn) {
			lot.Take()
			if !c.Retire() {
				t.Error("Retire() = false for a client that was sent nothing")
			}
		}, []string{"connect", "disconnect <nil>"}},
		{"it expires", func(t *testing.T, c Conn, lot *lot, client net.Conn) {
			lot.Take()
			c.Expire(handlers.ErrTimeout)
		}, []string{"connect", "disconnect " + handlers.ErrTimeout.Error()}},
		{"the loop shuts down", func(t *testing.T, c Conn, lot *lot, client net.Conn) {
			go io.Copy(io.Discard, client)
			if err := c.(*goConn).loop.Shutdown(t.Context(), 0); err != nil {
				t.Errorf("Shutdown() = %v", err)
			}
		}, []string{"connect", "disconnect " + handlers.ErrShutdown.Error()}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var l Loop
				c, r, lot, client := parkedPipe(&l)
				defer client.Close()
				c.StartParked(r, lot)
				synctest.Wait()
				if !lot.parked {
					t.Fatal("it is not parked")
				}
				tt.act(t, c, lot, client)
				wantEvents(t, r, tt.events...)
				l.Wait()
			})
		})
	}
}

func TestRetireAfterTheProgramHasWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Loop
		c, r, lot, client := parkedPipe(&l)
		defer client.Close()
		c.StartParked(r, lot)
		synctest.Wait()
		lot.Take()
		c.Send([]byte("banner"), handlers.Auto)
		synctest.Wait()
		if c.Retire() {
			t.Error("Retire() = true for a client that was sent something")
		}
		wantEvents(t, r, "connect", "disconnect <nil>")
		c.(*goConn).src.Close()
	})
}

// A connection whose program writes in OnConnect is not parked, and its events stay in order.
func TestWriteInConnectIsNotParked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Loop
		c, r, lot, client := parkedPipe(&l)
		r.onConnect = func() {
			c.Send([]byte("welcome"), handlers.Auto)
			time.Sleep(time.Second)
			if err := c.Send([]byte("again"), handlers.Auto); err != nil {
				t.Errorf("Send() = %v", err)
			}
		}
		c.StartParked(r, lot)
		mustRead(t, client, "welcome\nagain\n")
		if lot.parked {
			t.Error("it is parked")
		}
		mustWrite(t, client, "x\n")
		client.Close()
		wantEvents(t, r, "connect", "x", "disconnect <nil>")
		if err := c.Send(nil, handlers.Auto); !errors.Is(err, handlers.ErrClosed) {
			t.Errorf("Send() after the end = %v", err)
		}
	})
}
