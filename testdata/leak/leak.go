// Package leak has a TestMain that fails a package's tests if they leave goroutines behind.
package leak

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// grace is how long goroutines have to end after the last test.
const grace = time.Minute

// Main runs the tests and exits. If goroutines are left a minute after the last test, it prints
// their stacks to stderr and exits with 1. Goroutines of the runtime and of package testing may
// stay. A TestMain calls nothing else.
func Main(m *testing.M) {
	Parallel()
	os.Exit(run(m, grace))
}

// Checked returns m for a TestMain that needs more than Main, such as testscript.Main. Its Run
// runs the tests, and returns 1 if goroutines are left a minute after the last one.
func Checked(m *testing.M) interface{ Run() int } { return checked{m} }

type checked struct{ m *testing.M }

func (c checked) Run() int { return run(c.m, grace) }

// Parallel makes parallel tests run 32 at a time, as they wait more than they compute. The flag
// -parallel has precedence.
func Parallel() {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", "32")
	}
}

func run(m *testing.M, grace time.Duration) (code int) {
	if code = m.Run(); code != 0 {
		return code // a test that failed may have left some
	}
	if left := wait(grace); left != "" {
		fmt.Fprintf(os.Stderr, "leak: goroutines left by the tests:\n\n%s\n", left)
		return 1
	}
	return 0
}

// wait returns the stacks of the goroutines that are still there after grace.
func wait(grace time.Duration) string {
	for late := time.Now().Add(grace); ; time.Sleep(5 * time.Millisecond) {
		left := stray()
		if left == "" || time.Now().After(late) {
			return left
		}
	}
}

// stray returns the stacks of the goroutines that are not the test binary's own.
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

// own reports whether a goroutine is the caller's, the runtime's or the testing package's.
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
