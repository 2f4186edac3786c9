package loop

import (
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// SetNoDelay is [Conn.SetNoDelay].
func (c *epollConn) SetNoDelay(on bool) error {
	return c.option(func(fd int) error { return noDelay(fd, on) })
}

// SetKeepAlive is [Conn.SetKeepAlive].
func (c *epollConn) SetKeepAlive(on bool, idle time.Duration) error {
	return c.option(func(fd int) error { return keepAlive(fd, on, idle) })
}

func noDelay(fd int, on bool) error {
	return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, number(on))
}

func keepAlive(fd int, on bool, idle time.Duration) error {
	if on && idle > 0 {
		seconds := int((idle + time.Second - 1) / time.Second)
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds); err != nil {
			return err
		}
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, number(on))
}

// option sets an option of the socket.
func (c *epollConn) option(set func(fd int) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return net.ErrClosed
	}
	return optionError(set(int(c.fd)))
}

// optionError wraps err, but returns nil if a Unix socket reported that it has no TCP options.
func optionError(err error) error {
	if err == unix.EOPNOTSUPP || err == unix.ENOPROTOOPT {
		return nil
	}
	return os.NewSyscallError("setsockopt", err)
}

func number(on bool) int {
	if on {
		return 1
	}
	return 0
}

// rawOptions sets the options of a socket that is no [net.TCPConn].
type rawOptions struct{ syscall.Conn }

// SetNoDelay is that of [net.TCPConn].
func (o rawOptions) SetNoDelay(on bool) error {
	return o.control(func(fd int) error { return noDelay(fd, on) })
}

// SetKeepAliveConfig is that of [net.TCPConn], but for the interval and the count.
func (o rawOptions) SetKeepAliveConfig(c net.KeepAliveConfig) error {
	return o.control(func(fd int) error { return keepAlive(fd, c.Enable, c.Idle) })
}

func (o rawOptions) control(set func(fd int) error) error {
	raw, err := o.SyscallConn()
	if err != nil {
		return err
	}
	var setErr error
	if err := raw.Control(func(fd uintptr) { setErr = optionError(set(int(fd))) }); err != nil {
		return err
	}
	return setErr
}
