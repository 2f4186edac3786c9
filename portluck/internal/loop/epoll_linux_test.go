package loop

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

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
