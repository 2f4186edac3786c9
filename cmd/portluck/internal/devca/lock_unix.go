//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package devca

import (
	"errors"
	"os"
	"syscall"
)

// lockFile waits until f is ours alone, among all processes. Closing f gives it back.
func lockFile(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			return os.NewSyscallError("flock", err)
		}
	}
}
