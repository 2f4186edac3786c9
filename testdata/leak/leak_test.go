package leak

import (
	"strings"
	"testing"
)

func TestMain(m *testing.M) { Main(m) }

func TestStray(t *testing.T) {
	end := make(chan struct{})
	started := make(chan struct{})
	go func() { // ends with the test
		close(started)
		<-end
	}()
	<-started
	if got := stray(); !strings.Contains(got, "TestStray.func1") {
		t.Errorf("stray() = %q, want the goroutine of this test", got)
	}
	close(end)
	if got := wait(); strings.Contains(got, "TestStray.func1") {
		t.Errorf("wait() = %q after it has ended", got)
	}
}
