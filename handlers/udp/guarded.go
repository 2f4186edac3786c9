package udp

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/portluck/portluck/handlers"
)

// apart calls f, code of the program, in a goroutine of its own and waits for it. f may end that
// goroutine; the caller's serves other clients. apart logs a panic of f.
func (k *socket) apart(f func()) {
	done := make(chan error, 1)
	go func() { // ends with f
		done <- handlers.GuardExit(f, func(err error) { done <- err })
	}()
	handlers.LogPanic(k.port, nil, <-done)
}

// fail logs err and calls OnError.
func (k *socket) fail(remote netip.AddrPort, err error) {
	var info *handlers.Info
	if remote.IsValid() {
		info = &handlers.Info{Protocol: Protocol, Route: Protocol, Remote: remote, Local: k.paths.base.local}
	}
	var onError func()
	if f := k.srv.OnError; f != nil {
		onError = func() { k.apart(func() { f(remote, err) }) }
	}
	handlers.Report(k.port, info, err, onError)
}

// guarded is a socket that the program has made. It turns panics of its methods into errors.
type guarded struct{ pc net.PacketConn }

// guard returns the error of f. A panic of f is returned as an error.
func guard(f func() error) (err error) {
	if p := handlers.Guard(func() { err = f() }); p != nil {
		return p
	}
	return err
}

// ReadFrom is net.PacketConn.ReadFrom.
func (g guarded) ReadFrom(p []byte) (n int, from net.Addr, err error) {
	err = guard(func() (err error) {
		if n, from, err = g.pc.ReadFrom(p); err == nil {
			// n may exceed p, and methods of from may panic
			p, from = p[:n], net.UDPAddrFromAddrPort(addrPort(from))
		}
		return err
	})
	return n, from, err
}

// WriteTo is net.PacketConn.WriteTo. It runs in another goroutine, as it may end its goroutine, and
// other clients depend on the caller's.
func (g guarded) WriteTo(p []byte, to net.Addr) (n int, err error) {
	done := make(chan error, 1)
	go func() { // ends with the WriteTo
		var err error
		failed := func(p error) { done <- p }
		if p := handlers.GuardExit(func() { n, err = g.pc.WriteTo(p, to) }, failed); p != nil {
			err = p
		}
		done <- err
	}()
	if err = <-done; errors.Is(err, handlers.ErrPanic) {
		n = 0
	}
	return n, err
}

// LocalAddr is net.PacketConn.LocalAddr. It returns the unspecified address if there is none.
func (g guarded) LocalAddr() net.Addr {
	var at netip.AddrPort
	_ = handlers.Guard(func() { at = addrPort(g.pc.LocalAddr()) })
	return net.UDPAddrFromAddrPort(at)
}

// Close is net.PacketConn.Close.
func (g guarded) Close() error { return guard(g.pc.Close) }

// SetDeadline is net.PacketConn.SetDeadline.
func (g guarded) SetDeadline(t time.Time) error {
	return guard(func() error { return g.pc.SetDeadline(t) })
}

// SetReadDeadline is net.PacketConn.SetReadDeadline.
func (g guarded) SetReadDeadline(t time.Time) error {
	return guard(func() error { return g.pc.SetReadDeadline(t) })
}

// SetWriteDeadline is net.PacketConn.SetWriteDeadline.
func (g guarded) SetWriteDeadline(t time.Time) error {
	return guard(func() error { return g.pc.SetWriteDeadline(t) })
}
