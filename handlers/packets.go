package handlers

import (
	"context"
	"net"
)

// A PacketHandler serves the datagrams of a port, which have no connections and no matchers.
// Several goroutines may call its methods at once.
type PacketHandler interface {
	// ServePacket serves the datagrams of pc and announces each client with [Port.Connect]. It
	// closes pc. It returns after Shutdown or Close, or when pc fails. It may be called for several
	// sockets at once.
	ServePacket(pc net.PacketConn, p Port) error
	// Shutdown serves the datagrams that have arrived, disconnects every client, sends what is
	// queued and closes the sockets. If ctx ends first, it closes at once and returns the error of
	// ctx.
	Shutdown(ctx context.Context) error
	// Close closes the sockets at once. It does not wait for callbacks that are running.
	Close() error
}
