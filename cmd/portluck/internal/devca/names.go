package devca

import (
	"net"
	"net/netip"
	"slices"
	"strings"
)

// maxAddresses is the most addresses in a certificate, as a host of containers may have thousands.
// A certificate also has the address that its client has connected to.
const maxAddresses = 64

// names returns the names and addresses of this machine. It checks those that the system reports,
// because one that cannot be in a certificate would make every handshake fail.
func names(hostname func() (string, error), addresses func() ([]net.Addr, error)) (dns []string, ips []net.IP) {
	dns = []string{"localhost"}
	if host := hostName(hostname); host != "" && host != "localhost" {
		dns = append(dns, host)
	}
	ips = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	addrs, err := addresses()
	if err != nil {
		return dns, ips
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if ok && n != nil && isAddress(n.IP) && !slices.ContainsFunc(ips, n.IP.Equal) && len(ips) < maxAddresses {
			ips = append(ips, n.IP)
		}
	}
	return dns, ips
}

// isAddress reports whether a machine can have ip.
func isAddress(ip net.IP) bool {
	return ip.To16() != nil && !ip.IsUnspecified() && !ip.IsMulticast() && !ip.Equal(net.IPv4bcast)
}

// hostName returns the name of this machine in lower case, or "" if it is not a valid host name.
func hostName(hostname func() (string, error)) string {
	host, err := hostname()
	host = strings.TrimSuffix(host, ".")
	if err != nil || !isHostName(host) {
		return ""
	}
	return strings.ToLower(host) // after the check, as it may turn other letters into ASCII ones
}

// isHostName reports whether host is a valid name in DNS (RFC 1123, section 2.1). It accepts _, as
// some machines have it, and refuses IP addresses.
func isHostName(host string) bool {
	if len(host) > 253 {
		return false
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	// Programs read a name that ends in a number, such as 10.0.0 or 0x7f, as an address.
	last := strings.ToLower(labels[len(labels)-1])
	hex, isHex := strings.CutPrefix(last, "0x")
	return strings.Trim(last, "0123456789") != "" && (!isHex || strings.Trim(hex, "0123456789abcdef") != "")
}
