package loop

import (
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
