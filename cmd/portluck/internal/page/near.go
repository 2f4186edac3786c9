package page

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/portluck/portluck/handlers"
)

// proxyFields are what proxies add, beside X-Forwarded-For and its like.
var proxyFields = []string{"Forwarded", "Via", "X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip"}

// Near reports whether r comes from a browser on this machine: both ends of its connection are
// loopback, it asks for localhost or an address of loopback, and no proxy has passed it on for
// somebody else. One that hides that speaks HTTP/1.0, as nginx does by default, or asks for the
// name or address that it was asked for, as a tunnel does.
func Near(r *http.Request) bool {
	if passedOn(r) {
		return false
	}
	host := strings.TrimSuffix((&url.URL{Host: r.Host}).Hostname(), ".")
	if addr, err := netip.ParseAddr(host); err == nil && !addr.Unmap().IsLoopback() || host == "" || !r.ProtoAtLeast(1, 1) {
		return false
	}
	local := handlers.LocalAddr(r).Unmap()
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && remote.Addr().Unmap().IsLoopback() && local.IsLoopback() && handlers.Hosts(nil).Answers(r, local)
}

// passedOn reports whether a proxy says that it has passed r on.
func passedOn(r *http.Request) bool {
	for name := range r.Header {
		if slices.Contains(proxyFields, name) || strings.HasPrefix(name, "X-Forwarded-") {
			return true
		}
	}
	return false
}
