package tcp

import "net/netip"

// IsIP returns 4 or 6 if input is an IP address of that version, else 0. An address with a zone
// does not count.
func IsIP(input string) int {
	switch {
	case IsIPv4(input):
		return 4
	case IsIPv6(input):
		return 6
	}
	return 0
}

// IsIPv4 reports whether input is an IPv4 address, such as 127.0.0.1.
func IsIPv4(input string) bool {
	a, err := netip.ParseAddr(input)
	return err == nil && a.Is4()
}

// IsIPv6 reports whether input is an IPv6 address, such as ::1 or ::ffff:127.0.0.1.
func IsIPv6(input string) bool {
	a, err := netip.ParseAddr(input)
	return err == nil && a.Is6() && a.Zone() == ""
}
