package handlers

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
)

func TestAcceptEnds(t *testing.T) {
	accept := func(err error) error {
		return &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", err)}
	}
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{syscall.EPROTO, false},
		{syscall.EPERM, false},
		{syscall.ENETDOWN, false},
		{syscall.ENOPROTOOPT, false},
		{syscall.EHOSTDOWN, false},
		{syscall.EHOSTUNREACH, false},
		{syscall.EOPNOTSUPP, false},
		{syscall.ENETUNREACH, false},
		{syscall.ECONNABORTED, false},
		{syscall.ETIMEDOUT, false},
		{syscall.EMFILE, false},
		{syscall.ENOMEM, false},
		{syscall.EBADF, true},
		{syscall.EINVAL, true},
		{syscall.ENOTSOCK, true},
		{net.ErrClosed, true},
		{errors.New("made up"), true},
		{os.ErrDeadlineExceeded, false},
	} {
		for _, err := range []error{accept(tt.err), fmt.Errorf("wrapped: %w", tt.err)} {
			if got := AcceptEnds(err); got != tt.want {
				t.Errorf("AcceptEnds(%v) = %t, want %t", err, got, tt.want)
			}
		}
	}
}
