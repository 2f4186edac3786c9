//go:build !linux

package httpd

import "net"

// unsent returns 0, as the number is not known on this system.
func unsent(net.Conn) int { return 0 }
