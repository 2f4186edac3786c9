//go:build !linux

package portluck

import (
	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/httpd"
)

type parkings struct{}

// parker returns nil: the loop would spend a goroutine on each connection.
func (*port) parker() httpd.Parker { return nil }

// endParking does nothing: no connection is parked.
func (*port) endParking() {}

// inLane returns false: every HTTP connection has a goroutine anyway.
func (*port) inLane(*Info, []byte) bool { return false }

// serveLane is not called.
func (*port) serveLane(handlers.Conn, handlers.Port) {}
