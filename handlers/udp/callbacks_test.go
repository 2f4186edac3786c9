package udp

import (
	"errors"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/testdata/funcs"
)

// logging is a port that counts what it is asked to log.
type logging struct {
	handlers.Port
	panics, errors int
}

func (l *logging) LogError(_ *handlers.Info, err error) {
	switch p, ok := errors.AsType[*handlers.PanicError](err); {
	case !ok:
		l.errors++
	case p.First():
		l.panics++
	}
}

// A func of the program that panics or ends its goroutine costs one datagram or one call, and is
// logged.
func TestCallbacksPanic(t *testing.T) {
	cases := map[string]func(k *socket, boom func()) (errors int){
		"Server.RefusePort": func(k *socket, boom func()) int {
			k.srv.RefusePort = func(uint16) bool { boom(); return false }
			if !k.refusesPort(1000) {
				t.Error("the datagram is served")
			}
			return 0
		},
		"Server.OnError": func(k *socket, boom func()) int {
			k.srv.OnError = func(netip.AddrPort, error) { boom() }
			k.fail(netip.AddrPort{}, errors.New("failed"))
			k.fail(netip.MustParseAddrPort(near), errors.New("failed"))
			return 2
		},
	}
	funcs.Covered(t, slices.Collect(maps.Keys(cases))...)
	for name, f := range cases {
		for how, boom := range map[string]func(){"panic": func() { panic("oops") }, "Goexit": runtime.Goexit} {
			t.Run(name+", "+how, func(t *testing.T) {
				l := &logging{}
				k := newSocket(&Server{}, newFakeConn(), l)
				if want := f(k, boom); l.errors != want || l.panics != max(1, want) {
					t.Errorf("%d errors and %d panics are logged, want %d and %d", l.errors, l.panics, want, max(1, want))
				}
			})
		}
	}
}
