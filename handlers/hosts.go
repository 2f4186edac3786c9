package handlers

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// ErrHost means that a request is for a name that the server does not answer to: 421.
var ErrHost = errors.New("the server does not answer to this host")

// HostAdvice is the text of the answer to a request for a name that the server does not answer to.
const HostAdvice = "This server does not answer to the name in the request's Host, which a stranger may have pointed at " +
	"it (DNS rebinding). Use localhost or an IP address, or tell the server its name: Server.Hosts in a program, " +
	"--host NAME for the command."

// Hosts lists the names that an HTTP server answers to, besides those that no stranger can point at
// it: localhost, names that end in .localhost, and IP addresses. An entry is a name without a port,
// such as app.example; upper and lower case are the same. *.app.example stands for app.example and
// every name below it, and * for every name.
//
// A stranger can make a name of his resolve to this machine (DNS rebinding). To the browser his
// page and this server then have the same origin, and only the name in the request shows the
// difference.
type Hosts []string

// Check returns an error that says in a sentence what is wrong with an entry, or nil.
func (h Hosts) Check() error {
	for _, entry := range h {
		if why := wrongHost(entry); why != "" {
			return fmt.Errorf("%q: %s", entry, why)
		}
	}
	return nil
}

// Answers reports whether a server may answer r, where local is the server's address on the
// connection. If h is empty every name is allowed unless local is a loopback address. Every name is
// allowed if local is not valid, as on a Unix socket, which no browser dials. A request of HTTP/1.0
// without a Host is allowed too.
func (h Hosts) Answers(r *http.Request, local netip.Addr) bool {
	if !local.IsValid() || slices.Contains(h, "*") || len(h) == 0 && !local.Unmap().IsLoopback() {
		return true
	}
	for _, host := range r.Header["Host"] { // HTTP/2 may send one beside :authority
		if !h.allow(host) {
			return false
		}
	}
	return h.allow(r.Host)
}

// allow reports whether the server answers to host, which may have a port.
func (h Hosts) allow(host string) bool {
	name, isAddr := hostName(host)
	if isAddr || host == "" {
		return true
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if !isName(name) {
		return false
	}
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	for _, entry := range h {
		entry = strings.ToLower(strings.TrimSuffix(entry, "."))
		base, below := strings.CutPrefix(entry, "*.")
		if name == base || below && strings.HasSuffix(name, "."+base) {
			return true
		}
	}
	return false
}

// hostName returns host without its port, and whether it is an address.
func hostName(host string) (name string, isAddr bool) {
	name = host
	if at := strings.LastIndexByte(host, ':'); at > strings.LastIndexByte(host, ']') && strings.Trim(host[at+1:], "0123456789") == "" {
		name = host[:at]
	}
	inner, open := strings.CutPrefix(name, "[")
	inner, shut := strings.CutSuffix(inner, "]")
	if strings.IndexByte(inner, ':') < 0 && (inner == "" || inner[0] < '0' || inner[0] > '9') {
		return name, false // it saves a name the errors of netip.ParseAddr
	}
	if addr, err := netip.ParseAddr(strings.TrimSuffix(inner, ".")); err == nil && open == shut {
		return name, addr.Is6() || !open
	}
	if addr, err := netip.ParseAddr(host); err == nil { // of IPv6, without brackets
		return host, addr.IsValid()
	}
	return name, false
}

// isName reports whether s, which is in lower case, consists of labels as a host name does.
func isName(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return len(s) <= 253
}

// wrongHost returns a sentence about what is wrong with an entry of [Hosts], or "".
func wrongHost(entry string) string {
	name, isAddr := hostName(entry)
	base := strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(entry, "*."), "."))
	last := base[strings.LastIndexByte(base, '.')+1:]
	switch {
	case entry == "*", isAddr && name == entry:
		return ""
	case strings.Contains(entry, "://"):
		return "it has no scheme: app.example, not https://app.example"
	case strings.ContainsAny(entry, "/?#"):
		return "it has no path: app.example, not app.example/path"
	case strings.ContainsFunc(entry, func(r rune) bool { return r > '~' }):
		return "browsers send names in ASCII, such as xn--bcher-kva.example"
	case name != entry:
		return "it has no port: it holds for every port"
	case !isName(base), strings.Trim(last, "0123456789") == "":
		return "it is a name such as app.example, *.app.example, or * for every name"
	}
	return ""
}

// Handler returns an http.Handler that passes the requests that [Hosts.Answers] allows to next and
// answers the others with 421. It needs an [http.Server], which puts the local address into the
// request's context.
func (h Hosts) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.Answers(r, LocalAddr(r)) {
			Misdirected(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// LocalAddr returns the server's address on the connection of r. It is not valid on a Unix socket.
func LocalAddr(r *http.Request) netip.Addr {
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		return a.AddrPort().Addr()
	}
	return netip.Addr{}
}

// Misdirected answers r with 421 (RFC 9110, section 15.5.20) and [HostAdvice].
func Misdirected(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	if r.ProtoMajor == 1 { // in HTTP/2 other requests may use the connection
		header.Set("Connection", "close")
	}
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusMisdirectedRequest)
	_, _ = io.WriteString(w, HostAdvice+"\n")
}
