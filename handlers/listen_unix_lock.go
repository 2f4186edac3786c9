//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package handlers

import (
	"os"
	"syscall"
	"time"
)

// lockDir has no other process look at, put in place or remove a socket of ours in dir until unlock
// is called. It waits for a second at the most: another program may have locked dir for its own
// ends.
func lockDir(dir string) (unlock func()) {
	f, err := os.Open(dir)
	if err != nil {
		return func() {}
	}
	for late := time.Now().Add(time.Second); ; time.Sleep(5 * time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != syscall.EWOULDBLOCK && err != syscall.EINTR || time.Now().After(late) {
			return func() { f.Close() }
		}
	}
}
