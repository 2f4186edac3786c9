package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The CPU time of a process is that of all its threads, to much less than 10 ms.
func TestCPUClock(t *testing.T) {
	before, ok := cpuClock(os.Getpid())
	if !ok {
		t.Fatal("no clock of this process")
	}
	var self unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &self); err != nil {
		t.Fatal(err)
	}
	after, _ := cpuClock(os.Getpid())
	// The kernel counts the time of threads that run now in the clock at once.
	if all := time.Duration(self.Utime.Nano() + self.Stime.Nano()); all > after+time.Millisecond || after < before || after == 0 {
		t.Errorf("cpuClock() = %v, then %v; getrusage %v", before, after, all)
	}
	if _, ok := cpuClock(1 << 23); ok {
		t.Error("a clock of no process")
	}
}

// With --stuck-buffer the kernel takes about as much for a stuck member, and its own amount for
// others.
func TestStuckBuffer(t *testing.T) {
	p := &plan{Command: "fanout", Proto: "tcp", Buffer: 4 << 10, Timeout: time.Minute}
	s := startServer(t, "tcp", &testServer{})
	if err := p.resolve(t.Context(), s.addr); err != nil {
		t.Fatal(err)
	}
	made, err := newWorker(p, func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	defer made.close()
	if _, err := made.do(t.Context(), step{Do: "open", Conns: 2, Stuck: 1}); err != nil {
		t.Fatal(err)
	}
	w := made.(*fanoutWorker)
	raw, err := w.stuck[0].base.Conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		if n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF); err != nil || n != 8<<10 {
			t.Errorf("a stuck member has a buffer of %d, %v; want twice 4 KiB, as the kernel counts", n, err)
		}
	})
	reader := w.members[0].base.raw.(*rawConn)
	if n, err := unix.GetsockoptInt(reader.fd, unix.SOL_SOCKET, unix.SO_RCVBUF); err != nil || n <= 8<<10 {
		t.Errorf("a member that reads has a buffer of %d, %v", n, err)
	}
}

// Only Linux reports what a server uses.
func TestIdleMemory(t *testing.T) {
	s := startServer(t, "tcp", &testServer{})
	r, err := load(t, "idle", s.addr, "--conns", "8", "--time", "10ms", "--settle", "10ms", "--burst", "10", "--pid", pid())
	if err != nil {
		t.Error(err)
	}
	var at []string
	for _, p := range r["points"].([]any) {
		p := p.(map[string]any)
		at = append(at, p["at"].(string))
		if p["rss"].(float64) < 1<<20 || p["threads"].(float64) < 1 {
			t.Errorf("point %v", p)
		}
	}
	if got, want := strings.Join(at, " "), "start from conns held burst settled"; got != want {
		t.Errorf("points %q, want %q", got, want)
	}
	for _, name := range []string{"per_conn", "burst_per_conn", "settled_per_conn", "server"} {
		if r[name] == nil {
			t.Errorf("no %s", name)
		}
	}
}
