package udp

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/portluck/portluck/testdata/funcs"
)

// A panic in a func of the program costs one datagram or one call.
func TestCallbacksPanic(t *testing.T) {
	cases := map[string]func(t *testing.T){
		"Server.RefusePort": func(t *testing.T) {
			s := &Server{RefusePort: func(uint16) bool { panic("oops") }}
			if !s.refusesPort(1000) {
				t.Error("the datagram is served")
			}
		},
		"Server.OnError": func(*testing.T) {
			s := &Server{OnError: func(netip.AddrPort, error) { panic("oops") }}
			s.fail(netip.AddrPort{}, errors.New("failed"))
		},
	}
	funcs.Covered(t, slices.Collect(maps.Keys(cases))...)
	for name, f := range cases {
		t.Run(name, f)
	}
}
