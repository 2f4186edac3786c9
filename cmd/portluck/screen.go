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

// A screen is standard output or error that never holds the server up: lines wait in a short queue
// for one goroutine to write them, and those that find it full are counted instead. Somebody may
// have stopped the terminal with Ctrl-S, or the reader of a pipe may stand still.
type screen struct {
	out     io.Writer
	missing func(w io.Writer, n uint64) // tells how many lines w does not get
	most    int                         // lines in a second; 0 for no bound
	lines   chan []byte
	skipped atomic.Uint64
	ending  chan struct{}
	ended   chan struct{}
	once    sync.Once

	second time.Time // in which shown lines were written; run's
	shown  int
}

// newScreen starts a screen for people. Its goroutine ends with close, or when a write that close
// no longer waits for does.
func newScreen(out io.Writer, most int) *screen {
	return newScreenWith(out, most, func(w io.Writer, n uint64) { fmt.Fprintf(w, "... %d lines are not shown\n", n) })
}

func newScreenWith(out io.Writer, most int, missing func(w io.Writer, n uint64)) *screen {
	s := &screen{
		out: out, most: most, missing: missing,
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
			s.tell()
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
	s.tell()
	_, _ = s.out.Write(line)
}

func (s *screen) tell() {
	if n := s.skipped.Swap(0); n > 0 {
		s.missing(s.out, n)
	}
}

// close shows what waits, as long as somebody takes it.
func (s *screen) close() {
	s.once.Do(func() { close(s.ending) })
	select {
	case <-s.ended:
	case <-time.After(screenFarewell):
	}
}
