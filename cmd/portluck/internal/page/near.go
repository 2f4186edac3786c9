package page

import (
	"net/http"
	"net/netip"

	"github.com/portluck/portluck/handlers"
)

// Near reports whether r comes from this machine: both ends of its connection are loopback, and no
// proxy has passed it on for somebody else.
func Near(r *http.Request) bool {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"} {
		if r.Header.Get(name) != "" {
			return false
		}
	}
	local := handlers.LocalAddr(r).Unmap()
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && remote.Addr().Unmap().IsLoopback() && local.IsLoopback() && handlers.Hosts(nil).Answers(r, local)
}
