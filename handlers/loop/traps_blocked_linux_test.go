package loop

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// Callbacks that block delay nobody else by much, also when they come all at once and again.
func TestTraps3Row15BlockedCallbacks(t *testing.T) {
	r := epollRig(t, noBounds())
	const blockers, rounds = 8, 5
	var recs []*recorder
	var peers []peer
	for range blockers {
		c, rec, client := r.lines(t)
		rec.onMessage = func(m handlers.Message) error {
			time.Sleep(300 * time.Millisecond)
			return c.Send(m.Data, m.Kind)
		}
		start(c, rec)
		recs, peers = append(recs, rec), append(peers, client)
	}
	_, rec, client := r.echo(t)
	time.Sleep(50 * time.Millisecond) // all are watched
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, p := range peers {
		wg.Go(func() {
			in := bufio.NewReader(p)
			for i := range rounds {
				fmt.Fprintln(p, i)
				if line, err := in.ReadString('\n'); line != fmt.Sprintln(i) || err != nil {
					t.Errorf("a blocker reads %q, %v", line, err)
				}
			}
		})
	}
	go func() {
		wg.Wait()
		close(stop)
	}()
	var delays []time.Duration
	for done := false; !done; {
		select {
		case <-stop:
			done = true
		default:
		}
		began := time.Now()
		mustWrite(t, client, "x\n")
		mustRead(t, client, "x\n")
		delays = append(delays, time.Since(began))
		time.Sleep(time.Millisecond)
	}
	slices.Sort(delays)
	most, p90 := delays[len(delays)-1], delays[len(delays)*9/10]
	t.Logf("%d echoes: 90 %% in %v, all in %v", len(delays), p90, most)
	if p90 > 20*time.Millisecond {
		t.Errorf("the 90th percentile of the delay is %v", p90)
	}
	client.Close()
	<-rec.gone
	for i, p := range peers {
		p.Close()
		<-recs[i].gone
	}
}

// The order of a client's messages holds while its shard goes from one runner to another.
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

// A panic in an event ends its own client only.
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
			wantEvents(t, rec, "connect", "a", "disconnect "+handlers.ErrPanic.Error()+": oops")
			mustWrite(t, other, "x\n")
			mustRead(t, other, "x\n")
		}
		other.Close()
		goneWithin(t, 5*time.Second, otherRec)
	})
}
