package main

import "net/netip"

// remoteName is the remote address of a client. One that comes by a Unix socket has none: it is
// called what Linux calls it, as in the server's own log.
func remoteName(remote netip.AddrPort) string {
	if !remote.IsValid() {
		return "unix:@"
	}
	return remote.String()
}
