package main

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a screen.
const (
	screenQueue     = 256 // lines that wait
	screenPerSecond = 50
	screenFarewell  = time.Second // for what waits at the end
)

// A screen is a terminal that never holds the server up: lines wait in a short queue for one
// goroutine to write them, and those that find it full are counted instead. Somebody may have
// stopped the terminal with Ctrl-S.
type screen struct {
	out     io.Writer
	most    int // lines in a second; 0 for no bound
	lines   chan []byte
	skipped atomic.Uint64
	ending  chan struct{}
	ended   chan struct{}
	once    sync.Once

	second time.Time // in which shown lines were written; run's
	shown  int
}

// newScreen starts a screen. Its goroutine ends with close, or when a write that close no longer
// waits for does.
func newScreen(out io.Writer, most int) *screen {
	s := &screen{
		out: out, most: most,
		lines: make(chan []byte, screenQueue), ending: make(chan struct{}), ended: make(chan struct{}),
	}
	go s.run()
	return s
}

// show shows a line that is safe on a terminal.
func (s *screen) show(text string) { _, _ = s.Write([]byte(text + "\n")) }

// Write takes whole lines. It never waits and never fails.
func (s *screen) Write(p []byte) (int, error) {
	select {
	case s.lines <- append([]byte(nil), p...):
	default:
		s.skipped.Add(1)
	}
	return len(p), nil
}

func (s *screen) run() {
	defer close(s.ended)
	for {
		select {
		case line := <-s.lines:
			s.pace()
			s.write(line)
		case <-s.ending:
			for len(s.lines) > 0 {
				s.write(<-s.lines)
			}
			return
		}
	}
}

// pace waits when there were enough lines in this second.
func (s *screen) pace() {
	if s.most == 0 {
		return
	}
	if s.shown++; s.shown > s.most {
		select {
		case <-time.After(time.Until(s.second.Add(time.Second))):
		case <-s.ending:
		}
		s.shown = 1
	}
	if now := time.Now(); now.Sub(s.second) >= time.Second {
		s.second, s.shown = now, 1
	}
}

// write writes a line, and before it how many are missing.
func (s *screen) write(line []byte) {
	if n := s.skipped.Swap(0); n > 0 {
		fmt.Fprintf(s.out, "... %d lines are not shown\n", n)
	}
	_, _ = s.out.Write(line)
}

// close shows what waits, as long as the terminal takes it.
func (s *screen) close() {
	s.once.Do(func() { close(s.ending) })
	select {
	case <-s.ended:
	case <-time.After(screenFarewell):
	}
}
