// Package mesh connects all nodes of one name on a local network with each other, without configuration: tcpnet in Go.
package mesh
