//go:build !unix

package udp

// msgTrunc is no flag on this system: a datagram that does not fit is an error, or its length shows
// it.
const msgTrunc = 0
