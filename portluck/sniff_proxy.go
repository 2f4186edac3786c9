package portluck

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// These are the signatures and the limit of the PROXY protocol, versions 1 and 2:
// https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt.
const (
	proxyV1    = "PROXY "
	proxyV1Max = 107 // with CRLF
	proxyV2    = "\r\n\r\n\x00\r\nQUIT\n"
)

var errProxy = errors.New("malformed")

// proxyHeader holds the addresses of the client. They are zero if the proxy speaks for itself
// (LOCAL, UNKNOWN).
type proxyHeader struct{ remote, local netip.AddrPort }

// parseProxy parses the header at the beginning of b. n is the length of the header, which may
// exceed that of b if the missing part holds no addresses. n is 0 while more bytes are needed.
func parseProxy(b []byte) (h proxyHeader, n int, err error) {
	switch {
	case startsLike(b, proxyV2):
		return parseProxyV2(b)
	case startsLike(b, proxyV1):
		return parseProxyV1(b)
	}
	return h, 0, errProxy
}

// startsLike reports whether b starts with s, or still may once more bytes have come.
func startsLike(b []byte, s string) bool {
	n := min(len(b), len(s))
	return string(b[:n]) == s[:n]
}

func parseProxyV1(b []byte) (h proxyHeader, n int, err error) {
	end := bytes.IndexByte(b[:min(len(b), proxyV1Max)], '\n')
	switch {
	case end < 0 && len(b) >= proxyV1Max:
		return h, 0, errProxy
	case end < 0:
		return h, 0, nil
	case end == 0 || b[end-1] != '\r':
		return h, 0, errProxy
	}
	word := strings.Split(string(b[:end-1]), " ")
	if word[1] == "UNKNOWN" {
		return h, end + 1, nil
	}
	if len(word) != 6 || word[1] != "TCP4" && word[1] != "TCP6" {
		return h, 0, errProxy
	}
	var ok1, ok2 bool
	h.remote, ok1 = proxyAddr(word[2], word[4], word[1] == "TCP4")
	h.local, ok2 = proxyAddr(word[3], word[5], word[1] == "TCP4")
	if !ok1 || !ok2 {
		return proxyHeader{}, 0, errProxy
	}
	return h, end + 1, nil
}

func proxyAddr(addr, port string, v4 bool) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Is4() != v4 || a.Zone() != "" {
		return netip.AddrPort{}, false
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || len(port) > 1 && port[0] == '0' {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(p)), true
}

func parseProxyV2(b []byte) (h proxyHeader, n int, err error) {
	if len(b) < 16 {
		return h, 0, nil
	}
	n = 16 + int(binary.BigEndian.Uint16(b[14:]))
	command, family := b[12], b[13]
	switch {
	case command>>4 != 2 || command&15 > 1:
		return h, 0, errProxy
	case command&15 == 0:
		return h, n, nil // LOCAL, whatever the family
	case family>>4 > 3 || family&15 > 2:
		return h, 0, errProxy
	}
	ip := map[byte]int{0x11: 4, 0x21: 16}[family] // TCP over IPv4 and IPv6
	if ip == 0 {
		// UNSPEC, UDP or UNIX: the receiver must accept it and use the real address
		return h, n, nil
	}
	end := 16 + 2*ip + 4
	switch {
	case n < end:
		return h, 0, errProxy
	case len(b) < end:
		return h, 0, nil
	}
	body := b[16:end]
	return proxyHeader{addrPort(body[:ip], body[2*ip:]), addrPort(body[ip:2*ip], body[2*ip+2:])}, n, nil
}

// addrPort returns an address in the form in which accept returns it: IPv4-mapped IPv6 becomes
// IPv4. A proxy must write such addresses if only the other end is IPv6.
func addrPort(addr, port []byte) netip.AddrPort {
	a, _ := netip.AddrFromSlice(addr)
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(port))
}

// ProxyUnix means all clients of Unix sockets, in [Server.ProxyFrom] and [Server.SpeakFirst].
var ProxyUnix netip.Prefix

// fromProxy reports whether a connection from addr must begin with a PROXY header.
func (p *port) fromProxy(addr netip.Addr) bool { return inPrefixes(p.srv.ProxyFrom, addr) }

// inPrefixes reports whether one of all contains addr, after the zone and an IPv4-in-IPv6 mapping
// are removed. The zero address, of a Unix socket, is only in ProxyUnix.
func inPrefixes(all []netip.Prefix, addr netip.Addr) bool {
	if !addr.IsValid() {
		return slices.Contains(all, ProxyUnix)
	}
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(all, func(p netip.Prefix) bool { return p.Contains(addr) })
}
