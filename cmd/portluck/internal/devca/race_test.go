package devca

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// openAtOnce opens the CA of dir in many goroutines at once.
func openAtOnce(t *testing.T, dir string) []*CA {
	t.Helper()
	all := make([]*CA, 12)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() {
			<-start
			ca, err := Open(dir)
			if err != nil {
				t.Error(err)
			}
			all[i] = ca
		})
	}
	close(start)
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return all
}

// Goroutines that open a CA at once, before there is one, get the same CA, which is on disk.
func TestOneCAIsMade(t *testing.T) {
	for range 4 {
		dir := filepath.Join(t.TempDir(), "portluck")
		for _, ca := range openAtOnce(t, dir) {
			if err := shake(t, ca, "localhost"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// They also get the same CA if the one on disk has expired.
func TestOneCAReplacesAnExpiredOne(t *testing.T) {
	dir := t.TempDir()
	old := &CA{dir: dir, now: func() time.Time { return time.Now().Add(-caTime) }}
	if err := old.create(); err != nil {
		t.Fatal(err)
	}
	for _, ca := range openAtOnce(t, dir) {
		if err := shake(t, ca, "localhost"); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := e.Name(); name != certFile && name != keyFile && name != "lock" {
			t.Errorf("%s is left behind", name)
		}
	}
}
