package main

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of a screen.
const (
	screenQueue     = 256         // lines in the queue
	screenPerSecond = 50          // lines a person is shown in a second
	screenFarewell  = time.Second // for close to write the queue
)

// A screen writes lines to standard output or standard error and never blocks the server. A
// goroutine writes the lines of a short queue; a line that finds the queue full is dropped and
// counted. The output may block for long: Ctrl-S stops a terminal, and the reader of a pipe may
// stop reading.
type screen struct {
	out     io.Writer
	missing func(w io.Writer, n uint64) // reports on w that n lines were dropped
	most    int                         // lines in a second; 0 for no limit
	lines   chan []byte
	skipped atomic.Uint64
	ending  chan struct{}
	ended   chan struct{}
	once    sync.Once

	second time.Time // start of the current second; only run uses second and shown
	shown  int       // lines written in it
}

// newScreen starts a screen that shows at most most lines a second, or any number if most is 0. It
// says in words how many lines are missing. Its goroutine ends with close or, if a write blocks for
// longer than close waits, with that write.
func newScreen(out io.Writer, most int) *screen {
	return newScreenWith(out, most, func(w io.Writer, n uint64) { fmt.Fprintf(w, "... %d lines are not shown\n", n) })
}

// newScreenWith is newScreen with another report of the missing lines.
func newScreenWith(out io.Writer, most int, missing func(w io.Writer, n uint64)) *screen {
	s := &screen{
		out: out, most: most, missing: missing,
		lines: make(chan []byte, screenQueue), ending: make(chan struct{}), ended: make(chan struct{}),
	}
	go s.run()
	return s
}

// show shows text, which must be safe for a terminal, as a line.
func (s *screen) show(text string) { _, _ = s.Write([]byte(text + "\n")) }

// Write queues a line, which p must end with its newline, or drops and counts it if the queue is
// full. It never waits and never fails.
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

// pace waits for the end of the current second if it has had its most lines.
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

// write reports the lines that were dropped, then writes a line.
func (s *screen) write(line []byte) {
	s.tell()
	_, _ = s.out.Write(line)
}

// tell reports the lines that were dropped since its last call, if any.
func (s *screen) tell() {
	if n := s.skipped.Swap(0); n > 0 {
		s.missing(s.out, n)
	}
}

// close writes what is in the queue. It waits for that for at most screenFarewell.
func (s *screen) close() {
	s.once.Do(func() { close(s.ending) })
	select {
	case <-s.ended:
	case <-time.After(screenFarewell):
	}
}
