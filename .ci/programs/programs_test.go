// Package programs tests programs that people write with portluck and other libraries. It is a
// module of its own, so that users of portluck do not get those.
package programs

import (
	"net"
	"testing"

	"github.com/portluck/portluck/portluck"
)

// serve serves srv on a port of loopback until the test ends.
func serve(t *testing.T, srv *portluck.Server) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- srv.Serve(l) }() // ends with Close
	t.Cleanup(func() {
		srv.Close()
		<-served
	})
	return l.Addr().String()
}
