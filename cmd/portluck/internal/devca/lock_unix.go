//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package devca

import (
	"errors"
	"os"
	"syscall"
)

// lockFile waits for an exclusive lock on f, among all processes. Closing f releases it.
func lockFile(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			return os.NewSyscallError("flock", err)
		}
	}
}
