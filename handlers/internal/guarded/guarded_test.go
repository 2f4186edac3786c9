package guarded

import (
	"errors"
	"io"
	"net"
	"reflect"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// wild is a connection and a listener that panic at every call.
type wild struct{ net.Conn }

func (wild) Read([]byte) (int, error)                     { panic("oops") }
func (wild) Write([]byte) (int, error)                    { panic("oops") }
func (wild) Close() error                                 { panic("oops") }
func (wild) CloseWrite() error                            { panic("oops") }
func (wild) SetDeadline(time.Time) error                  { panic("oops") }
func (wild) SetReadDeadline(time.Time) error              { panic("oops") }
func (wild) SetWriteDeadline(time.Time) error             { panic("oops") }
func (wild) SetKeepAliveConfig(net.KeepAliveConfig) error { panic("oops") }
func (wild) SyscallConn() (syscall.RawConn, error)        { panic("oops") }
func (wild) LocalAddr() net.Addr                          { panic("oops") }
func (wild) RemoteAddr() net.Addr                         { return wildAddr{} }
func (wild) Accept() (net.Conn, error)                    { panic("oops") }
func (wild) Addr() net.Addr                               { return wildAddr{} }

type wildAddr struct{}

func (wildAddr) Network() string { return "wild" }
func (wildAddr) String() string  { panic("oops") }

// Each panic becomes an error, and the address that is returned is usable.
func TestPanics(t *testing.T) {
	c, l := Conn(wild{}).(*conn), Listener(wild{})
	now := time.Now()
	calls := map[string]func() error{
		"Read":               func() error { _, err := c.Read(make([]byte, 1)); return err },
		"Write":              func() error { _, err := c.Write(make([]byte, 1)); return err },
		"Close":              c.Close,
		"CloseWrite":         c.CloseWrite,
		"SetDeadline":        func() error { return c.SetDeadline(now) },
		"SetReadDeadline":    func() error { return c.SetReadDeadline(now) },
		"SetWriteDeadline":   func() error { return c.SetWriteDeadline(now) },
		"SetKeepAliveConfig": func() error { return c.SetKeepAliveConfig(net.KeepAliveConfig{}) },
		"SyscallConn":        func() error { _, err := c.SyscallConn(); return err },
		"Accept":             func() error { _, err := l.Accept(); return err },
		"Listener.Close":     l.Close,
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, handlers.ErrPanic) {
			t.Errorf("%s() = %v, want ErrPanic", name, err)
		}
	}
	for name, a := range map[string]net.Addr{"LocalAddr": c.LocalAddr(), "RemoteAddr": c.RemoteAddr(), "Addr": l.Addr()} {
		if got := a.String() + a.Network(); got != "" {
			t.Errorf("%s() = %q", name, got)
		}
	}
}

// quitter is a connection and a listener that end their goroutine at every call.
type quitter struct{ net.Conn }

func (quitter) Read([]byte) (int, error)  { runtime.Goexit(); return 0, nil }
func (quitter) Close() error              { runtime.Goexit(); return nil }
func (quitter) LocalAddr() net.Addr       { runtime.Goexit(); return nil }
func (quitter) Accept() (net.Conn, error) { runtime.Goexit(); return nil, nil }
func (quitter) Addr() net.Addr            { runtime.Goexit(); return nil }

// A call that ends its goroutine returns an error too. The caller's goroutine goes on.
func TestGoexit(t *testing.T) {
	c, l := FromPort(quitter{}), Listener(quitter{})
	calls := map[string]func() error{
		"Read":           func() error { _, err := c.Read(make([]byte, 1)); return err },
		"Close":          c.Close,
		"Accept":         func() error { _, err := l.Accept(); return err },
		"Listener.Close": l.Close,
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, handlers.ErrPanic) {
			t.Errorf("%s() = %v, want ErrPanic", name, err)
		}
	}
	if got := c.LocalAddr().String() + l.Addr().String(); got != "" {
		t.Errorf("the addresses are %q", got)
	}
}

// withDescriptor is a connection of a port, with a layer above its descriptor.
type withDescriptor struct{ *net.TCPConn }

type layer struct{ net.Conn }

func (l layer) NetConn() net.Conn { return l.Conn }

// A call on a port's connection that has a descriptor starts no goroutine.
func TestFromPort(t *testing.T) {
	for name, tt := range map[string]struct {
		nc   net.Conn
		want bool
	}{
		"descriptor": {withDescriptor{}, true}, "above one": {layer{layer{withDescriptor{}}}, true},
		"none": {quitter{}, false}, "above none": {layer{quitter{}}, false},
	} {
		c := FromPort(tt.nc).(*conn)
		if got := reflect.ValueOf(c.call).Pointer() == reflect.ValueOf(Call).Pointer(); got != tt.want {
			t.Errorf("%s: it is called directly: %t, want %t", name, got, tt.want)
		}
	}
}

// liar returns impossible counts, and no connection.
type liar struct {
	net.Conn
	n   int
	err error
}

func (l liar) Read([]byte) (int, error)  { return l.n, l.err }
func (l liar) Write([]byte) (int, error) { return l.n, l.err }
func (liar) Accept() (net.Conn, error)   { return nil, nil }
func (liar) Addr() net.Addr              { return nil }

func TestLies(t *testing.T) {
	for _, l := range []liar{{n: 2}, {n: -1}, {n: 9, err: io.EOF}} {
		c := Conn(l)
		for name, f := range map[string]func([]byte) (int, error){"Read": c.Read, "Write": c.Write} {
			if n, err := f(make([]byte, 1)); n != 0 || err == nil || l.err != nil && err != l.err {
				t.Errorf("%s() = %d, %v", name, n, err)
			}
		}
	}
	l := Listener(liar{})
	if nc, err := l.Accept(); nc != nil || err == nil {
		t.Errorf("Accept() = %v, %v", nc, err)
	}
	if a := l.Addr(); a == nil {
		t.Error("Addr() = nil")
	}
}

// Calls that do not panic have their usual results. Optional methods that are missing are not
// supported.
func TestPasses(t *testing.T) {
	client, server := net.Pipe()
	c := Conn(server).(*conn)
	go func() { _, _ = client.Write([]byte("hi")) }() // ends with the Read
	p := make([]byte, 9)
	if n, err := c.Read(p); string(p[:n]) != "hi" || err != nil {
		t.Errorf("Read() = %q, %v", p[:n], err)
	}
	if got := c.LocalAddr(); got.String() != "pipe" || got.Network() != "pipe" {
		t.Errorf("LocalAddr() = %v", got)
	}
	if err := c.CloseWrite(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("CloseWrite() = %v", err)
	}
	if _, err := c.SyscallConn(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("SyscallConn() = %v", err)
	}
	if err := c.SetKeepAliveConfig(net.KeepAliveConfig{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("SetKeepAliveConfig() = %v", err)
	}
	if again := Conn(c); again != net.Conn(c) {
		t.Error("it is guarded twice")
	}
	if tcp := new(net.TCPConn); Conn(tcp) != net.Conn(tcp) {
		t.Error("package net is not trusted")
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := client.Read(p); err != io.EOF {
		t.Errorf("the peer's Read() = %v", err)
	}
}
