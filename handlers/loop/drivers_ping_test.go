package loop

import (
	"bufio"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// pings is a codec of lines that sends pings.
type pings struct{ lines }

func (*pings) AppendPing(dst []byte) []byte { return append(dst, "ping\n"...) }

// A peer that answers no ping is disconnected, with and without a Timeout for idle connections.
func TestDriversPing(t *testing.T) {
	for _, timeout := range []time.Duration{0, time.Hour} {
		loop := func() *Loop { return &Loop{PingInterval: 40 * time.Millisecond, Timeout: timeout} }
		t.Run(timeout.String(), func(t *testing.T) {
			eachDriver(t, loop, func(t *testing.T, r *rig) {
				began := time.Now() // bytes of the TLS handshake count as the peer's too
				c, rec, client := r.connect(t, handlers.Attachment{Codec: &pings{}})
				start(c, rec)
				mustRead(t, client, "ping\n")
				if asked := time.Since(began); asked < r.PingInterval {
					t.Errorf("a ping after %v", asked)
				}
				if got, err := bufio.NewReader(client).ReadString('\n'); got != "" {
					t.Errorf("read %q, %v after the ping", got, err)
				}
				if lost := time.Since(began); lost < 2*r.PingInterval {
					t.Errorf("lost after %v", lost)
				}
				client.Close()
				wantEvents(t, rec, "connect", "disconnect "+handlers.ErrTimeout.Error())
			})
		})
	}
}

// A peer that reads a long queue slowly is not disconnected, neither for its silence nor as a slow
// reader. What counts is that it reads, not when it has read everything.
func TestSlowReaderThatDrainsStays(t *testing.T) {
	for name, l := range map[string]*Loop{"pings": {PingInterval: time.Minute}, "Timeout": {Timeout: time.Minute}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, client := net.Pipe()
				c, rec := l.New(&fakeConn{nc: server}, handlers.Attachment{Codec: &pings{}}), newRecorder()
				start(c, rec)
				synctest.Wait() // it has begun to read
				const size = 2 << 20
				if err := c.TrySend(make([]byte, size), handlers.Auto); err != nil {
					t.Fatal(err)
				}
				left := make([]byte, 16<<10)
				for n := 0; n < size; n += len(left) {
					time.Sleep(10 * time.Second) // six pieces in a minute, 21 minutes in all
					if _, err := io.ReadFull(client, left); err != nil {
						t.Fatalf("after %d bytes: %v", n, err)
					}
				}
				client.Close()
				wantEvents(t, rec, "connect", "disconnect <nil>")
			})
		})
	}
}

// eachInterval runs f with every driver. It doubles the interval until f reports that the peer
// stays, because an answer may be late on a busy machine.
func eachInterval(t *testing.T, timeout time.Duration, f func(t *testing.T, r *rig) (stays bool)) {
	eachDriver(t, noBounds, func(t *testing.T, first *rig) {
		for interval := 40 * time.Millisecond; interval < time.Minute; interval *= 2 {
			r := &rig{Loop: &Loop{Driver: first.Driver, PingInterval: interval, Timeout: timeout}, bench: first.bench}
			stays := f(t, r)
			r.Close()
			r.Wait()
			if stays {
				return
			}
		}
		t.Error("no peer stays")
	})
}

// A peer that answers stays connected, and gets further pings.
func TestDriversPingAnswered(t *testing.T) {
	eachInterval(t, time.Hour, func(t *testing.T, r *rig) bool {
		c, rec, client := r.connect(t, handlers.Attachment{Codec: &pings{}})
		start(c, rec)
		in, n := bufio.NewReader(client), 0
		for ; n < 4; n++ {
			if got, err := in.ReadString('\n'); err != nil {
				break
			} else if got != "ping\n" {
				t.Fatalf("read %q", got)
			}
			if _, err := client.Write([]byte{'.'}); err != nil {
				break
			}
		}
		client.Close()
		<-rec.gone
		return n == 4
	})
}

// A silent peer is pinged even if the program writes to it. It stays connected while it reads.
func TestDriversPingWhileWriting(t *testing.T) {
	eachInterval(t, 0, func(t *testing.T, r *rig) bool {
		c, rec, client := r.connect(t, handlers.Attachment{Codec: &pings{}})
		began := time.Now()
		start(c, rec)
		in, pinged, ended := bufio.NewReader(client), false, false
		for late := time.Now().Add(time.Minute); time.Since(began) < 4*r.PingInterval || !pinged && time.Now().Before(late); {
			err := c.Send([]byte("."), handlers.Auto)
			if ended = errors.Is(err, handlers.ErrClosed); ended { // the machine was busy for an interval
				break
			}
			got, err := in.ReadString('\n')
			if ended = err != nil; ended { // it was busy here
				break
			}
			pinged = pinged || got == "ping\n"
		}
		_, stays := c.Queued()
		stays = stays && !ended
		client.Close()
		<-rec.gone
		if stays && !pinged {
			t.Fatal("a silent peer was not pinged")
		}
		return stays
	})
}
