// Package leak fails a package's tests when they leave goroutines behind.
package leak

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// grace is how long goroutines have to end after the last test.
const grace = 5 * time.Second

// Main runs the tests and exits; a goroutine that is left makes it fail, with its stack. It is for TestMain.
func Main(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if left := wait(); left != "" {
			fmt.Fprintf(os.Stderr, "leak: goroutines left by the tests:\n\n%s\n", left)
			code = 1
		}
	}
	os.Exit(code)
}

// wait returns the goroutines that are still there after grace.
func wait() string {
	for late := time.Now().Add(grace); ; time.Sleep(5 * time.Millisecond) {
		left := stray()
		if left == "" || time.Now().After(late) {
			return left
		}
	}
}

// stray are the stacks of the goroutines that are not the test binary's own.
func stray() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var left []string
	for _, stack := range strings.Split(string(buf), "\n\n") {
		if !own(stack) {
			left = append(left, stack)
		}
	}
	return strings.Join(left, "\n\n")
}

// own says whether a goroutine is the caller, the runtime's or the testing package's.
func own(stack string) bool {
	for _, frame := range []string{
		"testdata/leak.stray(", "testing.(*M).", "testing.(*F).", "runtime.goexit0", "os/signal.signal_recv",
		"os/signal.loop", "internal/fuzz.", "runtime.ensureSigM",
	} {
		if strings.Contains(stack, frame) {
			return true
		}
	}
	return strings.TrimSpace(stack) == ""
}
