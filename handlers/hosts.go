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

// HostAdvice is what a client is told whose request is for such a name.
const HostAdvice = "This server does not answer to the name in the request's Host, which a stranger may have pointed at " +
	"it (DNS rebinding). Use localhost or an IP address, or tell the server its name: Server.Hosts in a program, " +
	"--host NAME for the command."

// Hosts are the names that an HTTP server answers to, besides those that no stranger can point at
// it: localhost, what ends in .localhost, and IP addresses. An entry is a name without a port, in
// any case, such as app.example; *.app.example is app.example and everything below it; * is every
// name.
//
// The name in a request is all that tells a page of ours from one of a stranger whose name
// resolves to this machine (DNS rebinding): to the browser both are of one origin.
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

// Answers reports whether a server, whose end of the connection is local, may answer r. Without
// entries every name will do unless local is loopback. It always will where local is not valid: on
// a Unix socket, which no browser dials. So will a request of HTTP/1.0 without a Host.
func (h Hosts) Answers(r *http.Request, local netip.Addr) bool {
	if !local.IsValid() || slices.Contains(h, "*") || len(h) == 0 && !local.Unmap().IsLoopback() {
		return true
	}
	for _, host := range r.Header["Host"] { // of HTTP/2, beside :authority
		if !h.allow(host) {
			return false
		}
	}
	return h.allow(r.Host)
}

// allow reports whether host, perhaps with a port, is a name to answer to.
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

// hostName is a host without its port, and whether that is an address.
func hostName(host string) (name string, isAddr bool) {
	name = host
	if at := strings.LastIndexByte(host, ':'); at > strings.LastIndexByte(host, ']') && strings.Trim(host[at+1:], "0123456789") == "" {
		name = host[:at]
	}
	inner, open := strings.CutPrefix(name, "[")
	inner, shut := strings.CutSuffix(inner, "]")
	if addr, err := netip.ParseAddr(strings.TrimSuffix(inner, ".")); err == nil && open == shut {
		return name, addr.Is6() || !open
	}
	if addr, err := netip.ParseAddr(host); err == nil { // of IPv6, without brackets
		return host, addr.IsValid()
	}
	return name, false
}

// isName reports whether s, in lower case, is made of labels as a host's name is.
func isName(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return len(s) <= 253
}

// wrongHost says what is wrong with an entry of [Hosts]; "" if nothing is.
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

// Handler returns an http.Handler that has next answer the requests that [Hosts.Answers] allows,
// and the others with 421. It is for an [http.Server], which tells the local address.
func (h Hosts) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.Answers(r, LocalAddr(r)) {
			Misdirected(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// LocalAddr is the server's end of the connection that r has come on; not valid on a Unix socket.
func LocalAddr(r *http.Request) netip.Addr {
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		return a.AddrPort().Addr()
	}
	return netip.Addr{}
}

// Misdirected answers r with 421 (RFC 9110, section 15.5.20) and [HostAdvice].
func Misdirected(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	if r.ProtoMajor == 1 { // of HTTP/2 others may use the connection
		header.Set("Connection", "close")
	}
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusMisdirectedRequest)
	_, _ = io.WriteString(w, HostAdvice+"\n")
}
