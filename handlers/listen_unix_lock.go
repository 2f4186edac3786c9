//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package handlers

import (
	"os"
	"syscall"
	"time"
)

// lockDir keeps other servers from checking, making or removing a socket in dir until unlock is
// called. It waits for a second at most, and then goes on without the lock, as another program may
// have locked dir for its own purposes.
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
