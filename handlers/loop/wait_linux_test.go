package loop

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// When a loop has been shut down, or closed and waited for, none of its goroutines is left.
func TestWaitsForItsGoroutines(t *testing.T) {
	for _, end := range []struct {
		name string
		do   func(l *Loop) error
	}{
		{"Shutdown", func(l *Loop) error { return l.Shutdown(t.Context(), 0) }},
		{"Close and Wait", func(l *Loop) error { l.Close(); l.Wait(); return nil }},
	} {
		for _, processors := range []int{1, 2} {
			for _, clients := range []int{0, 4} {
				t.Run(fmt.Sprintf("%s, %d processors, %d clients", end.name, processors, clients), func(t *testing.T) {
					for range 20 {
						l := &Loop{processors: processors, linger: time.Millisecond}
						echoes(t, l, clients)
						if err := end.do(l); err != nil {
							t.Fatal(err)
						}
						if left := goroutinesOf(&l.poller); left != "" {
							t.Fatalf("goroutines are left:\n%s", left)
						}
					}
				})
			}
		}
	}
}

// echoes gives l that many clients, of which each sends a line and gets it back. It makes l start
// its goroutines in any case.
func echoes(t *testing.T, l *Loop, clients int) {
	t.Helper()
	if err := l.poller.start(l); err != nil {
		t.Fatal(err)
	}
	for range clients {
		server, client := tcpPair(t)
		c := l.New(&fakeConn{nc: server}, handlers.Attachment{Codec: &lines{}})
		r := newRecorder()
		r.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
		start(c, r)
		mustWrite(t, client, "a\n")
		mustRead(t, client, "a\n")
		client.Close()
	}
}

// goroutinesOf returns the stacks of the runners and of the monitor of p, but for those that have
// nothing left to do than to return.
func goroutinesOf(p *poller) string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var left []string
	for _, stack := range strings.Split(string(buf), "\n\n") {
		of := strings.Contains(stack, fmt.Sprintf("%p", p)) && strings.Contains(stack, ").run(")
		if of && !strings.Contains(stack, "tasks.(*Group).Done(") {
			left = append(left, stack)
		}
	}
	return strings.Join(left, "\n\n")
}
