package page

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/portluck/portluck/handlers"
)

// proxyFields has the header fields that proxies add, besides those that begin with X-Forwarded-.
var proxyFields = []string{"Forwarded", "Via", "X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip"}

// Near reports whether r comes from a browser on this machine: both ends of its connection are
// loopback addresses, its host is localhost or a loopback address, and no proxy has forwarded it. A
// proxy that adds no header fields shows in other ways: nginx speaks HTTP/1.0 by default, and a
// tunnel passes on the host of its client.
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

// passedOn reports whether r has a header field of a proxy that has forwarded it.
func passedOn(r *http.Request) bool {
	for name := range r.Header {
		if slices.Contains(proxyFields, name) || strings.HasPrefix(name, "X-Forwarded-") {
			return true
		}
	}
	return false
}
