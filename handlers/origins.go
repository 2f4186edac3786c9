package handlers

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// CheckOriginPattern returns an error if no origin that a browser sends can match pattern. The
// error says why in a sentence. A pattern is a host such as example.com, *.example.com, 127.0.0.1,
// [::1] or *, optionally followed by a port or :*. It has no scheme.
func CheckOriginPattern(pattern string) error {
	switch {
	case strings.Contains(pattern, "://"):
		return errors.New("it has no scheme: example.com, not https://example.com")
	case strings.ContainsFunc(pattern, func(r rune) bool { return r > '~' }):
		return errors.New("browsers send names in ASCII, such as xn--bcher-kva.example")
	}
	host := pattern
	if i := strings.LastIndexByte(pattern, ':'); i > strings.LastIndexByte(pattern, ']') {
		host = pattern[:i]
		if port := pattern[i+1:]; !isOriginPort(port) {
			return fmt.Errorf("%q is no port: a number from 1 to 65535, or *", port)
		}
	}
	if !isOriginHost(host) {
		return errors.New("it is a host such as example.com, *.example.com, 127.0.0.1, [::1] or *, perhaps with :PORT or :*")
	}
	return nil
}

func isOriginPort(s string) bool {
	n, err := strconv.ParseUint(least(s), 10, 16)
	return err == nil && n > 0 && s[0] != '0'
}

// least returns a port or an address that the pattern s matches, if it matches any. It replaces
// each * by 1: a * stands for at least one digit, and 1 is valid wherever any other digit is.
func least(s string) string { return strings.ReplaceAll(s, "*", "1") }

// isOriginHost reports whether the pattern s can match a host as browsers write it: an IPv6 address
// in brackets and in its shortest form, an IPv4 address in full, or a name.
func isOriginHost(s string) bool {
	inner, open := strings.CutPrefix(s, "[")
	if inner, shut := strings.CutSuffix(inner, "]"); open && shut {
		inner = strings.ToLower(least(inner))
		addr, err := netip.ParseAddr(inner)
		return err == nil && addr.Is6() && addr.Zone() == "" && written(addr) == inner
	}
	base, below := strings.CutPrefix(s, "*.")
	for addr := least(base); ; addr = "1." + addr {
		if _, err := netip.ParseAddr(addr); err == nil && !strings.Contains(addr, ":") {
			return true
		}
		if !below || strings.Count(addr, ".") >= 3 {
			break
		}
	}
	name := strings.TrimSuffix(strings.ReplaceAll(base, "*", "_"), ".")
	last := name[strings.LastIndexByte(name, '.')+1:]
	return isName(strings.ToLower(name)) && strings.Trim(last, "0123456789") != ""
}

// written returns addr as browsers write it. Unlike [netip.Addr.String] it has no dotted form for
// addresses in ::ffff:0:0/96.
func written(addr netip.Addr) string {
	if !addr.Is4In6() {
		return addr.String()
	}
	b := addr.As16()
	return fmt.Sprintf("::ffff:%x:%x", int(b[12])<<8|int(b[13]), int(b[14])<<8|int(b[15]))
}
