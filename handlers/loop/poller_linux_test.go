package loop

import (
	"runtime"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"golang.org/x/sys/unix"
)

func eachSet(t *testing.T, f func(t *testing.T, s *epollSet)) {
	t.Parallel()
	for name, nested := range map[string]bool{"blocking": false, "nested": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := newEpollSet(nested)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.close)
			f(t, s)
		})
	}
}

// watchedPipe returns the ends of a pipe whose events s reports with slot 7.
func watchedPipe(t *testing.T, s *epollSet) (p [2]int) {
	t.Helper()
	if err := unix.Pipe2(p[:], unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(p[0])
		unix.Close(p[1])
	})
	if err := unix.EpollCtl(s.fd, unix.EPOLL_CTL_ADD, p[0], &unix.EpollEvent{Events: pollEvents, Fd: 7}); err != nil {
		t.Fatal(err)
	}
	return p
}

// A wait ends with an event, at its deadline, or by wake, which may be called before the wait.
func TestEpollSet(t *testing.T) {
	eachSet(t, func(t *testing.T, s *epollSet) {
		events := make([]unix.EpollEvent, 8)
		p := watchedPipe(t, s)
		for range 3 {
			s.arm(time.Time{})
			s.wake()
			if n := s.wait(events); n != 0 {
				t.Errorf("%d events after wake", n)
			}
			s.arm(time.Now().Add(time.Millisecond))
			if n := s.wait(events); n != 0 {
				t.Errorf("%d events at the deadline", n)
			}
			s.arm(time.Now().Add(-time.Second))
			if n := s.wait(events); n != 0 {
				t.Errorf("%d events after a deadline that has passed", n)
			}
			s.arm(time.Time{})
			if _, err := unix.Write(p[1], []byte("x")); err != nil {
				t.Fatal(err)
			}
			if n := s.wait(events); n != 1 || events[0].Fd != 7 {
				t.Errorf("%d events, %+v, want that of the pipe", n, events[0])
			}
		}
		s.arm(time.Time{})
		done := make(chan int)
		go func() { done <- s.wait(events) }() // ends by wake
		time.Sleep(time.Millisecond)           // by then it probably waits; it must end in any case
		s.wake()
		if n := <-done; n != 0 {
			t.Errorf("%d events after wake", n)
		}
	})
}

// An event that comes together with wake is not lost.
func TestEpollSetWakeWithEvents(t *testing.T) {
	s, err := newEpollSet(false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	p := watchedPipe(t, s)
	s.wake()
	if _, err := unix.Write(p[1], []byte("x")); err != nil {
		t.Fatal(err)
	}
	events := make([]unix.EpollEvent, 8)
	if n := s.wait(events); n != 1 || events[0].Fd != 7 {
		t.Errorf("%d events, %+v, want that of the pipe alone", n, events[:2])
	}
}

// Another runner is worth its cost if the rest of the batch would wait for long, or if turns are
// long.
func TestWorthHelp(t *testing.T) {
	for _, tt := range []struct {
		name    string
		spent   time.Duration
		done, n int
		want    bool
	}{
		{"a short turn", 5 * time.Microsecond, 1, 64, false},
		{"many short turns", 1280 * time.Microsecond, 128, 256, true},
		{"the last of them", 1280 * time.Microsecond, 254, 256, false},
		{"a long turn", 100 * time.Microsecond, 1, 2, true},
		{"deadlines only", 0, 0, 0, false},
	} {
		p := &poller{at: tt.done, n: tt.n}
		if got := p.worthHelpLocked(tt.spent); got != tt.want {
			t.Errorf("%s: worthHelpLocked(%v) = %t, want %t", tt.name, tt.spent, got, tt.want)
		}
	}
}

// A runner that has joined ends when nothing is left and another runner waits. There are no more
// runners than processors.
func TestShare(t *testing.T) {
	for most, want := range map[int]int{1: 1, 2: 2} {
		p := &poller{polling: true, runners: 1, most: most, base: time.Now()}
		c := &epollConn{}
		p.slots.add(c)
		p.slots.remove(c) // no connection gets its events
		p.events, p.at, p.n = make([]unix.EpollEvent, 64), 1, 64
		p.began = -time.Second
		p.mu.Lock()
		p.shareLocked()
		p.mu.Unlock()
		if want > 1 {
			within(t, time.Minute, "the rest of the batch is taken, and the helper ends", func() bool {
				p.mu.Lock()
				defer p.mu.Unlock()
				return p.at == p.n && p.runners == 1
			})
		} else if p.at != 1 || p.runners != 1 {
			t.Errorf("%d runners with one processor", p.runners)
		}
	}
}

// A runner whose thread waits for a processor is not stuck. One that computes or sleeps is.
func TestStarves(t *testing.T) {
	const cpu = time.Second
	for _, tt := range []struct {
		name string
		t    thread
		want bool
	}{
		{"computes", thread{cpu + stuckAfter, true, true}, false},
		{"waits for a processor", thread{cpu, true, true}, true},
		{"sleeps", thread{cpu, false, true}, false},
		{"has ended", thread{0, false, true}, false},
	} {
		r := newRunner()
		r.thread.Store(17)
		r.cpu = cpu
		m := monitor{threads: map[int32]thread{17: tt.t}}
		if got := m.starves(r); got != tt.want {
			t.Errorf("%s: starves() = %t, want %t", tt.name, got, tt.want)
		}
	}
}

// The monitor asks the kernel whether a thread runs or waits.
func TestThread(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	id := int32(unix.Gettid())
	before := processorTime(id)
	within(t, time.Minute, "the thread computes", func() bool { return processorTime(id) > before })
	if !runnable(id) {
		t.Error("the thread that runs is not runnable")
	}
	var p [2]int
	if err := unix.Pipe2(p[:], 0); err != nil {
		t.Fatal(err)
	}
	threads := make(chan int32, 1)
	done := make(chan struct{})
	go func() { // ends when the pipe is closed
		defer close(done)
		runtime.LockOSThread()
		threads <- int32(unix.Gettid())
		_, _ = unix.Read(p[0], make([]byte, 1))
	}()
	sleeper := <-threads
	within(t, time.Minute, "the thread sleeps", func() bool { return !runnable(sleeper) })
	unix.Close(p[1])
	<-done
	unix.Close(p[0])
	// No thread has a number above the kernel's PID_MAX_LIMIT.
	if none := int32(1<<22 + 1); runnable(none) || processorTime(none) != 0 {
		t.Error("a thread that does not exist runs")
	}
}

// After a callback has blocked, each turn has a goroutine of its own until no callback has blocked
// for a while.
func TestSpread(t *testing.T) {
	r := epollRig(t, noBounds())
	_, _, client := r.echo(t)
	in, release := make(chan struct{}), make(chan struct{})
	blocker, blockerRec, blockerClient := r.lines(t)
	blockerRec.onMessage = func(m handlers.Message) error {
		in <- struct{}{}
		<-release
		return nil
	}
	start(blocker, blockerRec)
	mustWrite(t, blockerClient, "x\n")
	<-in
	within(t, time.Minute, "turns are spread", r.poller.spread.on.Load)
	mustWrite(t, client, "x\n")
	close(release)
	within(t, time.Minute, "turns are the runners' again", func() bool {
		mustWrite(t, client, "x\n")
		return !r.poller.spread.on.Load()
	})
}
