package portluck

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portluck/portluck/testdata/need"
)

// settled returns how many goroutines, and how much of the heap, this process still has.
func settled() (goroutines int, heap uint64) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return runtime.NumGoroutine(), m.HeapAlloc
}

// Members of all kinds come and go, some of them stuck: a minute in the long form.
func TestRoomStress(t *testing.T) {
	if !alone(t) {
		return
	}
	lasts, n := time.Second, 60
	if need.Long() {
		lasts, n = time.Minute, 150
	}
	c := &crowd{rooms: 5, publishers: 3, report: t.Errorf}
	s := c.server()
	addr := serve(t, s)
	ctx, cancel := during(t.Context(), lasts/10)
	c.visit(ctx, addr, n, 500*time.Millisecond) // for what is made once
	cancel()
	eventually(t, "all are gone", func() bool { return s.Hub.Len() == 0 })
	goroutines, heap := settled()
	ctx, cancel = during(t.Context(), lasts)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { c.publish(ctx, s.Hub, 2*time.Millisecond) })
	c.visit(ctx, addr, n, lasts/6)
	wg.Wait()
	eventually(t, "all are gone", func() bool { return s.Hub.Len() == 0 && c.connects.Load() == c.disconnects.Load() })
	eventually(t, "the goroutines have ended", func() bool { return runtime.NumGoroutine() <= goroutines+10 })
	_, after := settled()
	if after > heap+4<<20 {
		t.Errorf("the heap has %d KiB, before %d", after>>10, heap>>10)
	}
	for i := range c.rooms {
		name := c.room(i)
		if first, second := s.Hub.Room(name), s.Hub.Room(name); first == second {
			t.Errorf("the hub still knows %s", name)
		}
	}
	t.Logf("%d sessions, %d of them stuck; %d connects and disconnects, %d too slow; %d messages published, %d received; heap %d KiB, then %d; goroutines %d",
		c.sessions.Load(), c.stuck.Load(), c.connects.Load(), c.slow.Load(), c.published.Load(), c.messages.Load(), heap>>10, after>>10, runtime.NumGoroutine())
}

// soak holds how long TestRoomSoak lasts and how many clients it has: 10 minutes and 15,000 clients
// in the long form, or as long as PORTLUCK_SOAK says. Client processes get it in environment
// variables.
type soak struct {
	lasts, hold, pause time.Duration // hold: of a client, on average; pause: of a publisher
	clients            int
	addr               string // of the server, in a process of clients
}

func newSoak(t *testing.T) soak {
	t.Helper()
	s := soak{lasts: time.Second, hold: 500 * time.Millisecond, pause: 50 * time.Millisecond, clients: 100, addr: os.Getenv("PORTLUCK_SOAK_ADDR")}
	if need.Long() {
		s = soak{lasts: 10 * time.Minute, hold: 2 * time.Minute, pause: 2 * time.Second, clients: 15000, addr: s.addr}
	}
	if v := os.Getenv("PORTLUCK_SOAK"); v != "" {
		var err error
		if s.lasts, err = time.ParseDuration(v); err != nil {
			t.Fatalf("PORTLUCK_SOAK: %v", err)
		}
	}
	if v := os.Getenv("PORTLUCK_SOAK_CLIENTS"); v != "" {
		var err error
		if s.clients, err = strconv.Atoi(v); err != nil {
			t.Fatalf("PORTLUCK_SOAK_CLIENTS: %v", err)
		}
	}
	return s
}

// perProcess is how many clients one process has, because its descriptors are limited.
const perProcess = 5000

// TestRoomSoak has clients of all kinds, in processes of their own, that come and go. It checks
// that each connect has its disconnect, that no message is lost or doubled, and that memory does
// not grow.
func TestRoomSoak(t *testing.T) {
	t.Parallel()
	o := newSoak(t)
	c := &crowd{rooms: 20, publishers: 2, report: t.Errorf}
	if o.addr != "" {
		ctx, cancel := during(t.Context(), o.lasts)
		defer cancel()
		c.visit(ctx, o.addr, o.clients, o.hold)
		t.Logf("%d sessions, %d of them stuck, %d messages, %d failures", c.sessions.Load(), c.stuck.Load(), c.messages.Load(), c.failed.Load())
		return
	}
	s := c.server()
	addr := serve(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var clients, wg sync.WaitGroup
	for left := o.clients; left > 0; left -= perProcess {
		clients.Go(func() { soakProcess(t, addr, min(left, perProcess)) })
	}
	wg.Go(func() { c.watch(ctx, t, s.Hub, o.lasts/20) })
	wg.Go(func() { c.publish(ctx, s.Hub, o.pause) })
	clients.Wait()
	cancel()
	wg.Wait()
	eventually(t, "all are gone", func() bool { return s.Hub.Len() == 0 && c.connects.Load() == c.disconnects.Load() })
	if c.connects.Load() == 0 {
		t.Error("nobody has come")
	}
	goroutines, heap := settled()
	t.Logf("end: %d connects and disconnects, %d too slow, heap %.1f MB, RSS %s, %d goroutines",
		c.connects.Load(), c.slow.Load(), float64(heap)/1e6, rss(), goroutines)
}

// soakProcess starts a process with n clients.
func soakProcess(t *testing.T, addr string, n int) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestRoomSoak$", "-test.v", "-test.timeout=0")
	cmd.Env = append(os.Environ(), "PORTLUCK_SOAK_ADDR="+addr, fmt.Sprint("PORTLUCK_SOAK_CLIENTS=", n))
	out, err := cmd.CombinedOutput()
	t.Logf("clients: %s", out)
	if err != nil {
		t.Errorf("clients: %v", err)
	}
}

// watch logs the state of the server until ctx ends.
func (c *crowd) watch(ctx context.Context, t *testing.T, h *Hub, every time.Duration) {
	for began := time.Now(); ctx.Err() == nil; nap(ctx, every) {
		goroutines, heap := settled()
		t.Logf("%4.0f s: %d clients, %d connects, %d disconnects, %d too slow, %d published, heap %.1f MB, RSS %s, %d goroutines",
			time.Since(began).Seconds(), h.Len(), c.connects.Load(), c.disconnects.Load(), c.slow.Load(), c.published.Load(), float64(heap)/1e6, rss(), goroutines)
	}
}

// rss returns the resident memory of this process, if the system tells it.
func rss() string {
	status, _ := os.ReadFile("/proc/self/status")
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	line, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(line)
}
