package main

import (
	"fmt"
	"io"
	"time"
)

// progressTime is the time between two lines of progress on a terminal.
const progressTime = 200 * time.Millisecond

// eraseLine begins a line of a terminal anew.
const eraseLine = "\r\x1b[K"

// things are the names of what each command counts.
var things = map[string]string{"conn": "connections", "echo": "messages", "idle": "connections", "fanout": "deliveries"}

// tell writes a line of progress to w again and again. The func that it returns stops it and erases
// the line.
func (s *session) tell(w io.Writer) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop
		defer close(ended)
		tick := time.NewTicker(progressTime)
		defer tick.Stop()
		begin, last := time.Now(), int64(0)
		for {
			select {
			case <-tick.C:
				now := s.crew.progress()
				fmt.Fprint(w, eraseLine+s.progressLine(time.Since(begin), now, now.Done-last))
				last = now.Done
			case <-end:
				fmt.Fprint(w, eraseLine)
				return
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

// progressLine returns the text of a line. since is the number of operations since the last line.
func (s *session) progressLine(elapsed time.Duration, now tally, since int64) string {
	line := fmt.Sprintf("%s: %.0f s, %d %s, %.0f/s", s.plan.Command, elapsed.Seconds(), now.Done, things[s.plan.Command],
		per(float64(max(since, 0)), progressTime.Seconds())) // a round begins at 0 again
	if now.Latency != nil && now.Done > 0 {
		line += fmt.Sprintf(", p99 %v", brief(now.Latency.quantile(.99).Seconds()))
	}
	return line
}
