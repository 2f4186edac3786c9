//go:build !linux

package loop

import (
	"context"
	"errors"
	"net"
	"syscall"

	"github.com/portluck/portluck/handlers"
)

// poller is empty where there is no epoll.
type poller struct{}

func (*poller) refuse()                    {}
func (*poller) all(others []ender) []ender { return others }

func (*poller) wait(context.Context) error { return nil }

// shutWrite is not called: no connection is a bare descriptor.
func shutWrite(int) error { return errors.ErrUnsupported }

func (*Loop) newPolled(handlers.Conn, handlers.Attachment) Conn { return nil }

// rawOptions does nothing where only a [net.TCPConn] knows the options of its socket.
type rawOptions struct{ syscall.Conn }

func (rawOptions) SetNoDelay(bool) error { return nil }

func (rawOptions) SetKeepAliveConfig(net.KeepAliveConfig) error { return nil }
