package main

import "net/netip"

// remoteName returns the remote address of a client. A client of a Unix socket has none:
// remoteName then returns unix:@, as the server's log does.
func remoteName(remote netip.AddrPort) string {
	if !remote.IsValid() {
		return "unix:@"
	}
	return remote.String()
}
