package portluck

import (
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// No second has more than failuresPerSecond lines, however many clients fail at once, and even
// around the end of a second.
func TestLinesPerSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger := zerolog.New(io.Discard)
		l := (&Server{Logger: &logger}).lines()
		var lines [4]atomic.Int32
		var wg sync.WaitGroup
		for i := range 400 {
			wg.Go(func() {
				for range 100 {
					time.Sleep(time.Duration(27+i%5) * time.Millisecond)
					second := int(time.Since(l.start) / time.Second)
					if l.allow(slog.LevelInfo) && second < len(lines) {
						lines[second].Add(1)
					}
				}
			})
		}
		wg.Wait()
		for second := range lines {
			if n := lines[second].Load(); n != failuresPerSecond && second < 3 || n > failuresPerSecond {
				t.Errorf("%d lines in second %d, want %d", n, second, failuresPerSecond)
			}
		}
	})
}
