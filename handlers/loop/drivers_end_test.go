package loop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

func TestDriversHalfClose(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		rec.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
		start(c, rec)
		mustWrite(t, client, "tail")
		client.CloseWrite()
		if got, err := io.ReadAll(client); string(got) != "tail\n" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		client.Close()
		wantEvents(t, rec, "connect", "tail", "disconnect <nil>")
	})
}

// After End the peer gets everything that was written, and then FIN. What it still sends is
// delivered.
func TestDriversEnd(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		rec.onMessage = func(m handlers.Message) error {
			if m.String() == "end" {
				c.Send([]byte("bye"), handlers.Auto)
				return c.End()
			}
			if err := c.Send(nil, handlers.Auto); !errors.Is(err, handlers.ErrClosed) {
				t.Errorf("Send after End = %v, want ErrClosed", err)
			}
			return nil
		}
		start(c, rec)
		mustWrite(t, client, "end\n")
		if got, err := io.ReadAll(client); string(got) != "bye\n" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		mustWrite(t, client, "later\n")
		client.CloseWrite()
		wantEvents(t, rec, "connect", "end", "later", "disconnect <nil>")
	})
}

// The last reply is not lost even if the peer goes on sending: TRAPS part 4, row 16.
func TestTraps4Row16Linger(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		for range 20 {
			c, rec, client := r.lines(t)
			rec.onMessage = func(handlers.Message) error {
				c.Send([]byte("last"), handlers.Auto)
				return handlers.ErrPolicy
			}
			start(c, rec)
			mustWrite(t, client, "a\n"+strings.Repeat("unread\n", 2000))
			if got, err := io.ReadAll(client); !strings.HasPrefix(string(got), "last\n") || err != nil {
				t.Fatalf("read %q, %v", got, err)
			}
			client.Close()
			<-rec.gone
		}
	})
}

// What was written just before Destroy arrives.
func TestDriversWriteThenDestroy(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		c, rec, client := r.lines(t)
		rec.onMessage = func(handlers.Message) error {
			c.Send([]byte("last"), handlers.Auto)
			c.Destroy()
			return nil
		}
		start(c, rec)
		mustWrite(t, client, "a\n")
		mustRead(t, client, "last\n")
		client.Close()
		wantEvents(t, rec, "connect", "a", "disconnect <nil>")
	})
}

func TestDriversDestroyWakesWriters(t *testing.T) {
	eachDriver(t, func() *Loop { return &Loop{MaxQueue: 1} }, func(t *testing.T, r *rig) {
		c, rec, _ := r.lines(t)
		connected := make(chan struct{})
		rec.onConnect = func() { close(connected) }
		start(c, rec)
		<-connected
		sent := make(chan error)
		for range 3 {
			go func() {
				for {
					if err := c.Send(make([]byte, 1<<20), handlers.Auto); err != nil {
						sent <- err
						return
					}
				}
			}()
		}
		time.AfterFunc(50*time.Millisecond, c.Destroy)
		for range 3 {
			if err := <-sent; !errors.Is(err, handlers.ErrClosed) {
				t.Errorf("Send = %v, want ErrClosed", err)
			}
		}
		wantEvents(t, rec, "connect", "disconnect <nil>")
	})
}

func TestDriversShutdown(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		const n = 20
		recs := make([]*recorder, n)
		for i := range n {
			c, rec, client := r.lines(t)
			rec.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
			start(c, rec)
			mustWrite(t, client, "before\n")
			mustRead(t, client, "before\n")
			mustWrite(t, client, "last\n") // it is served, although it may not have been read yet
			recs[i] = rec
			go func() { // ends when the loop has closed it
				defer client.Close()
				if got, err := io.ReadAll(client); string(got) != "last\n" || err != nil {
					t.Errorf("read %q, %v", got, err)
				}
			}()
		}
		if err := r.Shutdown(t.Context(), 10*time.Millisecond); err != nil {
			t.Errorf("Shutdown() = %v", err)
		}
		end := "disconnect " + handlers.ErrShutdown.Error()
		for _, rec := range recs {
			wantEvents(t, rec, "connect", "before", "last", end)
		}
		late, rec, _ := r.lines(t)
		start(late, rec)
		wantEvents(t, rec, end)
	})
}

// Quit sends the farewell after the queue, waits no longer than the loop allows, and delivers
// nothing that comes later.
func TestDriversQuit(t *testing.T) {
	want := "disconnect " + handlers.ErrSlow.Error()
	t.Run("a peer that reads", func(t *testing.T) {
		eachDriver(t, noBounds, func(t *testing.T, r *rig) {
			c, rec, client := r.connect(t, handlers.Attachment{Codec: &parting{}})
			start(c, rec)
			c.Send([]byte("last"), handlers.Auto)
			c.Quit(handlers.ErrSlow)
			c.Quit(handlers.ErrShutdown)
			if got, err := io.ReadAll(client); string(got) != "last\nbye: "+handlers.ErrSlow.Error() || err != nil {
				t.Errorf("read %q, %v", got, err)
			}
			client.Close()
			wantEvents(t, rec, "connect", want)
			c.Quit(handlers.ErrSlow)
		})
	})
	t.Run("a peer that does not", func(t *testing.T) {
		eachDriver(t, func() *Loop { return &Loop{Timeout: time.Hour, CloseTimeout: 100 * time.Millisecond} }, func(t *testing.T, r *rig) {
			c, rec, _ := r.connect(t, handlers.Attachment{Codec: &parting{}})
			start(c, rec)
			newChunk(64<<10).fill(t, c)
			c.Quit(handlers.ErrSlow)
			select {
			case <-rec.gone:
				wantEvents(t, rec, "connect", want)
			case <-time.After(time.Minute):
				t.Error("it is still there")
			}
		})
	})
}

// parting is a codec whose farewell is the reason for the end.
type parting struct{ lines }

func (*parting) AppendClose(dst []byte, reason error) []byte {
	return fmt.Appendf(dst, "bye: %v", reason)
}

// Messages of other goroutines never follow the codec's farewell, such as a WebSocket's answer to a
// close frame.
func TestDriversLastWord(t *testing.T) {
	eachDriver(t, noBounds, func(t *testing.T, r *rig) {
		for range 30 {
			c, rec, client := r.connect(t, handlers.Attachment{Codec: &polite{}})
			start(c, rec)
			var wg sync.WaitGroup
			wg.Go(func() {
				for c.Send([]byte("more"), handlers.Auto) == nil {
				}
			})
			mustWrite(t, client, "bye")
			got, err := io.ReadAll(client)
			if end := got[max(0, len(got)-10):]; !strings.HasSuffix(string(got), "farewell") || err != nil {
				t.Errorf("the end is %q, %v", end, err)
			}
			client.Close()
			<-rec.gone
			wg.Wait()
		}
	})
}

// polite is a codec that answers everything with a farewell.
type polite struct{ lines }

func (*polite) Decode(in []byte, m *handlers.Messages) (int, error) {
	if len(in) == 0 {
		return 0, nil
	}
	m.Reply = append(m.Reply, "farewell"...)
	return len(in), io.EOF
}

func (*polite) AppendClose(dst []byte, _ error) []byte { return dst }

// Every callback may call Close, which returns, and Shutdown, which returns when its context ends.
func TestDriversCloseInCallback(t *testing.T) {
	stops := map[string]func(t *testing.T, r *rig){
		"Close": func(_ *testing.T, r *rig) { r.Close() },
		"Shutdown": func(t *testing.T, r *rig) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			if err := r.Shutdown(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Shutdown() = %v, want DeadlineExceeded", err)
			}
		},
	}
	for name, stop := range stops {
		for _, where := range []string{"Connect", "Message", "Woken", "Disconnect", "take"} {
			t.Run(name+" in "+where, func(t *testing.T) {
				eachDriver(t, noBounds, func(t *testing.T, r *rig) {
					returned := make(chan struct{})
					in := func(here string) {
						if here == where {
							stop(t, r)
							close(returned)
						}
					}
					take := func(nc net.Conn) {
						in("take")
						if nc != nil {
							nc.Close()
						}
					}
					c, rec, client := r.connect(t, handlers.Attachment{Codec: &quits{take: take}})
					_, other, _ := r.echo(t)
					rec.onConnect = func() {
						in("Connect")
						if where == "Woken" {
							c.Wake(0)
						}
					}
					rec.onMessage = func(handlers.Message) error {
						in("Message")
						return nil
					}
					woken := func(time.Duration, *handlers.Messages) time.Duration {
						in("Woken")
						return 0
					}
					ev := &sleeper{rec, woken}
					go c.Start(parter{ev, func() { in("Disconnect") }})() // ends with the connection
					if where != "Connect" && where != "Woken" {
						mustWrite(t, client, "first\n")
					}
					select {
					case <-returned:
					case <-time.After(time.Minute):
						t.Error("it does not return")
					}
					goneWithin(t, time.Minute, other)
					goneWithin(t, time.Minute, rec)
					r.Wait()
				})
			})
		}
	}
}

// parter calls a func when its client is disconnected.
type parter struct {
	*sleeper
	parts func()
}

func (p parter) Disconnect(err error) {
	p.parts()
	p.sleeper.Disconnect(err)
}
