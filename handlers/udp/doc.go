// Package udp serves datagrams.
package udp
