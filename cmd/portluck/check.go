package main

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// maxUnixPath is the longest path of a Unix socket, in bytes.
const maxUnixPath = 107

// checkListen returns an error if addr is not valid for --listen. It does not look up names.
func checkListen(addr string) error { return checkListenFlag("--listen", addr) }

// checkListenFlag is checkListen for another flag.
func checkListenFlag(flag, addr string) error {
	path, ok := strings.CutPrefix(addr, "unix:")
	switch {
	case !ok && checkAddress(addr) != nil:
		return fmt.Errorf("%s %q: %w, or unix:PATH", flag, addr, checkAddress(addr))
	case ok && (path == "" || len(path) > maxUnixPath || strings.ContainsRune(path, 0)):
		return fmt.Errorf("%s %q: the path of a Unix socket must have 1 to %d bytes", flag, addr, maxUnixPath)
	}
	return nil
}

// checkAddress returns an error if addr is not HOST:PORT or :PORT.
func checkAddress(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	switch {
	case err != nil || host != "" && !isHost(host, strings.HasPrefix(addr, "[")):
		return fmt.Errorf("want HOST:PORT, such as localhost:8100, or :PORT")
	case !isPort(port):
		return fmt.Errorf("%q is not a port from 0 to 65535: want HOST:PORT or :PORT", port)
	}
	return nil
}

func isPort(s string) bool {
	if isDigits(s) {
		n, err := strconv.ParseUint(s, 10, 16)
		return err == nil && n <= 65535
	}
	if !hostName.MatchString(s) {
		return false
	}
	_, err := net.LookupPort("tcp", s) // a name of /etc/services, such as http
	return err == nil
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// hostName matches labels of letters, digits, - and _, separated by dots. It may end with a dot.
var hostName = regexp.MustCompile(`\A[a-zA-Z0-9_-]+(\.[a-zA-Z0-9_-]+)*\.?\z`)

// isHost reports whether s is a name or an IP address. brackets reports whether s stood in
// brackets, as an IPv6 address must and nothing else may.
func isHost(s string, brackets bool) bool {
	if addr, err := netip.ParseAddr(s); err == nil || brackets {
		return err == nil && addr.Is6() == brackets
	}
	labels := strings.Split(strings.TrimSuffix(s, "."), ".")
	return hostName.MatchString(s) && !isDigits(labels[len(labels)-1])
}
