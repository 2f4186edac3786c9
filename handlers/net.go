package handlers

import (
	"errors"
	"net"
)

// CloseWrite closes the sending side of nc, as [net.TCPConn.CloseWrite] does. If nc has no such
// method, CloseWrite does nothing and returns [errors.ErrUnsupported].
func CloseWrite(nc net.Conn) error {
	if c, ok := nc.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}
