//go:build !linux

package callosum

import "net"

// watcher is for systems that report when a peer has ended. On this one every connection is read
// ahead.
type watcher struct{}

func (*watcher) add(net.Conn, func()) (forget func()) { return nil }
