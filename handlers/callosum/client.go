package callosum

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/guarded"
	"github.com/portluck/portluck/handlers/internal/setting"
)

// ErrRejected means that [Dialer.Accept] rejected the slot.
var ErrRejected = errors.New("slot rejected")

// A Dialer connects to servers. Its zero value is ready to use. Any goroutine may call its methods.
type Dialer struct {
	// Timeout bounds the time for connecting and reading the slot line; 10 seconds if zero, no
	// bound if negative.
	Timeout time.Duration
	// Accept reports whether to keep a connection with this slot. If nil, every slot is accepted.
	Accept func(slot int) bool
	// Preface makes the Dialer send [Preface] first, so that a server on a port shared with other
	// protocols recognises the client at once, not only by its silence. Upstream's servers treat the
	// preface as a part of the stream.
	Preface bool
	// DialContext makes the connections. If nil, that of a net.Dialer is used.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
}

func (d *Dialer) timeout() time.Duration { return setting.Or(d.Timeout, 10*time.Second, setting.Never) }

// Dial connects to the server at addr, host:port or a host with port 4040, and reads the slot that
// it assigns.
func Dial(ctx context.Context, addr string) (*Conn, error) { return new(Dialer).Dial(ctx, addr) }

// Dial connects to the server at addr, host:port or a host with port 4040, and reads the slot that
// it assigns. If Accept rejects the slot, Dial closes the connection and returns [ErrRejected].
func (d *Dialer) Dial(ctx context.Context, addr string) (*Conn, error) {
	c, err := d.dial(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("callosum: %w", err)
	}
	return c, nil
}

func (d *Dialer) dial(ctx context.Context, addr string) (c *Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout())
	defer cancel()
	dial := d.DialContext
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	addr = withPort(addr)
	var nc net.Conn
	if p := handlers.Guard(func() { nc, err = dial(ctx, "tcp", addr) }); p != nil {
		return nil, p
	}
	if err == nil && nc == nil {
		err = errNoConnection
	}
	if err != nil {
		return nil, err
	}
	nc = guarded.Conn(nc)
	slot, rest, err := d.greet(ctx, nc)
	if err == nil {
		err = d.accept(slot, addr)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &Conn{Conn: nc, slot: slot, lead: rest, gone: make(chan struct{})}, nil
}

var errNoConnection = errors.New("neither a connection nor an error")

// accept calls Accept. A panic in it rejects the slot.
func (d *Dialer) accept(slot int, addr string) error {
	if d.Accept == nil {
		return nil
	}
	var ok bool
	if err := handlers.Guard(func() { ok = d.Accept(slot) }); err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w: %d of %s", ErrRejected, slot, addr)
	}
	return nil
}

// greet reads the slot line, and returns the bytes that it has read beyond it.
func (d *Dialer) greet(ctx context.Context, nc net.Conn) (slot int, rest []byte, err error) {
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if d.Preface {
		if _, err := io.WriteString(nc, Preface); err != nil {
			return 0, nil, cause(ctx, err)
		}
	}
	slot, rest, err = readLine(nc)
	switch {
	case err != nil:
		return 0, nil, fmt.Errorf("slot line: %w", cause(ctx, err))
	case !stop():
		return 0, nil, ctx.Err()
	}
	return slot, rest, nil
}

// cause returns the cause of the end of ctx if ctx has ended, and err otherwise.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// withPort returns addr, with the default port appended if it has none.
func withPort(addr string) string {
	if _, _, err := net.SplitHostPort(addr); err == nil {
		return addr
	}
	return net.JoinHostPort(strings.TrimSuffix(strings.TrimPrefix(addr, "["), "]"), DefaultPort)
}
