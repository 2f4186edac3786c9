package linger

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// half is a pipe that can close one side, as far as End can tell.
type half struct {
	net.Conn
	err  error
	shut int
}

func (h *half) CloseWrite() error {
	h.shut++
	return h.err
}

func TestEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		half func(net.Conn) net.Conn
		want time.Duration
	}{
		"one side is closed":     {func(nc net.Conn) net.Conn { return &half{Conn: nc} }, time.Second},
		"closing one side fails": {func(nc net.Conn) net.Conn { return &half{Conn: nc, err: net.ErrClosed} }, 0},
		"both sides or none":     {func(nc net.Conn) net.Conn { return nc }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				defer theirs.Close()
				defer ours.Close()
				nc, began := tt.half(ours), time.Now()
				End(nc, time.Second, 1<<20)
				if got := time.Since(began); got != tt.want {
					t.Errorf("End took %v, want %v", got, tt.want)
				}
				if h, ok := nc.(*half); ok && h.shut != 1 {
					t.Errorf("CloseWrite was called %d times", h.shut)
				}
			})
		})
	}
}

func TestDrop(t *testing.T) {
	for name, tt := range map[string]struct {
		send   int
		closes bool
		n      int64
		err    error
		took   time.Duration
	}{
		"the peer closes":      {1000, true, 1000, io.EOF, 0},
		"the peer is silent":   {1000, false, 1000, os.ErrDeadlineExceeded, time.Second},
		"the peer sends a lot": {5000, false, 4096, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				go func() { // ends with the pipe
					_, _ = theirs.Write(make([]byte, tt.send))
					if tt.closes {
						theirs.Close()
					}
				}()
				began := time.Now()
				n, err := Drop(ours, time.Second, 4096)
				if n != tt.n || !errors.Is(err, tt.err) || time.Since(began) != tt.took {
					t.Errorf("Drop() = %d, %v after %v, want %d, %v after %v", n, err, time.Since(began), tt.n, tt.err, tt.took)
				}
				ours.Close()
				theirs.Close()
				if n, err := Drop(ours, time.Second, 4096); n != 0 || err == nil {
					t.Errorf("Drop() of a closed connection = %d, %v", n, err)
				}
			})
		})
	}
}
