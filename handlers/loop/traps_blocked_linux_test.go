package loop

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// Callbacks that block delay no other client, even if many block at once, and again later.
func TestTraps3Row15BlockedCallbacks(t *testing.T) {
	eachEpoll(t, noBounds, func(t *testing.T, r *rig) {
		const blockers, rounds, echoes = 8, 2, 10
		in, release := make(chan struct{}, blockers), make(chan struct{})
		var recs []*recorder
		var peers []peer
		for range blockers {
			c, rec, client := r.lines(t)
			rec.onMessage = func(m handlers.Message) error {
				in <- struct{}{}
				<-release
				return c.Send(m.Data, m.Kind)
			}
			start(c, rec)
			recs, peers = append(recs, rec), append(peers, client)
		}
		_, rec, client := r.echo(t)
		for i := range rounds {
			for _, p := range peers {
				mustWrite(t, p, fmt.Sprintln(i))
			}
			for range echoes { // some callbacks block by now, or all
				mustWrite(t, client, "x\n")
				mustRead(t, client, "x\n")
			}
			for range blockers {
				<-in
			}
			for range echoes { // while all callbacks block
				mustWrite(t, client, "x\n")
				mustRead(t, client, "x\n")
			}
			for range blockers {
				release <- struct{}{}
			}
			for _, p := range peers {
				mustRead(t, p, fmt.Sprintln(i))
			}
		}
		client.Close()
		<-rec.gone
		for i, p := range peers {
			p.Close()
			<-recs[i].gone
		}
	})
}

// A client's messages stay in order while different runners take its turns.
func TestTraps3Row15OrderWhileStolen(t *testing.T) {
	eachEpoll(t, noBounds, func(t *testing.T, r *rig) {
		const clients, n = 6, 200
		var wg sync.WaitGroup
		for range clients {
			c, rec, client := r.lines(t)
			rec.onMessage = func(m handlers.Message) error {
				if len(m.Data) > 1 && strings.HasSuffix(m.String(), "50") {
					time.Sleep(30 * time.Millisecond)
				}
				return c.Send(m.Data, m.Kind)
			}
			start(c, rec)
			wg.Go(func() {
				go func() { // ends when all is written
					for i := range n {
						fmt.Fprintln(client, i)
						if i%10 == 0 {
							time.Sleep(time.Millisecond)
						}
					}
				}()
				in := bufio.NewReader(client)
				for i := range n {
					if line, err := in.ReadString('\n'); line != fmt.Sprintln(i) || err != nil {
						t.Errorf("read %q, %v, want %d", line, err, i)
						break
					}
				}
				client.Close()
				<-rec.gone
				if got := len(rec.events()); got != n+2 {
					t.Errorf("%d events, want %d", got, n+2)
				}
			})
		}
		wg.Wait()
	})
}

// A panic in an event ends only its own client.
func TestTraps3Row15PanicInMessage(t *testing.T) {
	eachEpoll(t, noBounds, func(t *testing.T, r *rig) {
		_, otherRec, other := r.echo(t)
		for range 5 {
			c, rec, client := r.lines(t)
			rec.onMessage = func(handlers.Message) error { panic("oops") }
			start(c, rec)
			mustWrite(t, client, "a\nb\n")
			if got, err := io.ReadAll(client); !strings.HasPrefix(string(got), "error:") || err != nil {
				t.Errorf("read %q, %v", got, err)
			}
			client.Close()
			wantEvents(t, rec, "connect", "a", "disconnect "+handlers.ErrPanic.Error()+": string")
			mustWrite(t, other, "x\n")
			mustRead(t, other, "x\n")
		}
		other.Close()
		goneWithin(t, time.Minute, otherRec)
	})
}
