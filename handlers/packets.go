package handlers

import (
	"context"
	"net"
)

// A PacketHandler serves datagrams: the other half of the port, where no connection is and no
// matcher looks. Its methods may be called by several goroutines at once.
type PacketHandler interface {
	// ServePacket serves the datagrams of pc, which it closes, and announces each client with
	// [Port.Connect]. It returns after Shutdown or Close, or when pc fails. It may be called for
	// several sockets at once.
	ServePacket(pc net.PacketConn, p Port) error
	// Shutdown serves what has come, disconnects every client, sends what is queued and closes the
	// sockets. When ctx ends first it closes at once and returns the error of ctx.
	Shutdown(ctx context.Context) error
	// Close closes the sockets at once. It does not wait for callbacks that are running.
	Close() error
}
