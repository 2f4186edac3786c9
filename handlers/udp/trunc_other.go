//go:build !unix

package udp

// msgTrunc is no flag here: a datagram that does not fit is an error, or is seen by its length.
const msgTrunc = 0
