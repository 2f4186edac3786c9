package loop

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/tcp"
)

// epollRig is a rig without TLS.
func epollRig(t *testing.T, l *Loop) *rig {
	return newRig(t, l, bench{"epoll", Auto, false, plainServer})
}

func newRig(t *testing.T, l *Loop, b bench) *rig {
	r := &rig{Loop: l, bench: b}
	r.Driver = b.driver
	t.Cleanup(func() {
		r.Close()
		r.Wait()
	})
	return r
}

func goneWithin(t *testing.T, d time.Duration, rec *recorder) {
	t.Helper()
	select {
	case <-rec.gone:
	case <-time.After(d):
		t.Fatalf("not gone after %v: events %q", d, rec.events())
	}
}

// A runner may end its turn, and be given back, while the monitor takes it for lost.
func TestMonitorAndEndingTurn(t *testing.T) {
	var (
		m monitor
		w crew
		c = &polled{}
	)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { // ends with stop
		for {
			select {
			case <-stop:
				return
			default:
			}
			r := w.get(nil)
			r.begin(c)
			runtime.Gosched()
			r.end()
			w.put(r)
		}
	})
	for late := time.Now().Add(300 * time.Millisecond); time.Now().Before(late); {
		m.look(&w)
		m.look(&w)
	}
	close(stop)
	wg.Wait()
}

// leaky panics with an answer, and a codec, that are not for the next connection.
type leaky struct{ tcp.Lines }

func (*leaky) Decode(_ []byte, m *handlers.Messages) (int, error) {
	m.Reply = append(m.Reply, "secret"...)
	m.Next = &leaky{}
	panic("oops")
}

func TestPanicLeavesNothingBehind(t *testing.T) {
	r := epollRig(t, noBounds())
	for range 20 {
		bad, badRec, badPeer := r.connect(t, handlers.Attachment{Codec: &leaky{}, Unread: []byte("x")})
		start(bad, badRec)
		goneWithin(t, 5*time.Second, badRec)
		badPeer.Close()
		c, rec, client := r.connect(t, handlers.Attachment{Codec: &tcp.Lines{}, Unread: []byte("a\n")})
		rec.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
		start(c, rec)
		mustRead(t, client, "a\n")
		client.Close()
		wantEvents(t, rec, "connect", "a", "disconnect <nil>")
	}
}
