package handlers

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
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

func TestBackoff(t *testing.T) {
	t.Parallel()
	var b Backoff
	for _, ms := range []time.Duration{5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000} {
		if got, want := b.Next(), ms*time.Millisecond; got != want || time.Duration(b) != want {
			t.Errorf("Next() = %v, b = %v, want %v", got, time.Duration(b), want)
		}
	}
	b = 0
	if got := b.Next(); got != 5*time.Millisecond {
		t.Errorf("Next() of zero = %v, want 5ms", got)
	}
}

func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, done := time.Now(), make(chan struct{})
		if !Pause(done, time.Minute) || time.Since(began) != time.Minute {
			t.Errorf("Pause ended after %v, want true after a minute", time.Since(began))
		}
		time.AfterFunc(time.Second, func() { close(done) })
		if Pause(done, time.Minute) || time.Since(began) != time.Minute+time.Second {
			t.Errorf("Pause ended after %v, want false once done is closed", time.Since(began)-time.Minute)
		}
	})
}
