package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A stopped terminal blocks nobody, and the lines that it misses are counted.
func TestScreenStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read, write := io.Pipe()
		s := newScreen(write, 0)
		s.show("line 0")
		synctest.Wait() // the screen is stuck in this write
		for i := range 1000 {
			s.show(fmt.Sprint("line ", i+1))
		}
		start := time.Now()
		s.close()
		if took := time.Since(start); took != screenFarewell {
			t.Errorf("close() took %v, want %v", took, screenFarewell)
		}
		done := make(chan []byte)
		go func() { // ends with write.Close
			all, _ := io.ReadAll(read)
			done <- all
		}()
		<-s.ended
		write.Close()
		lines := strings.Split(strings.TrimSpace(string(<-done)), "\n")
		want := fmt.Sprintf("... %d lines are not shown", 1000-screenQueue)
		if len(lines) != screenQueue+2 || lines[0] != "line 0" || lines[1] != want || lines[2] != "line 1" {
			t.Errorf("%d lines: %q, want %d with %q", len(lines), lines[:3], screenQueue+2, want)
		}
	})
}

// A flood of lines is slowed down, and the lines that are dropped are counted.
func TestScreenFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := newScreen(&out, 50)
		for i := range 10000 {
			s.show(fmt.Sprint("line ", i))
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		s.close()
		n := strings.Count(out.String(), "line ")
		if most := 50*11 + screenQueue; n > most || n < 450 {
			t.Errorf("%d lines in 10 s, want about 500, and at most %d", n, most)
		}
		if !strings.Contains(out.String(), " lines are not shown\n") {
			t.Error("the screen does not report that lines are missing")
		}
	})
}
