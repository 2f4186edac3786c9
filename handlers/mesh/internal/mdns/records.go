package mdns

import (
	"net/netip"

	"golang.org/x/net/dns/dnsmessage"
)

// cacheFlush is the bit of a class that says that the record replaces all others of its name and
// type (RFC 6762, section 10.2).
const cacheFlush = 1 << 15

// form is how records are written: it decides on times to live and the cache-flush bit.
type form int

const (
	regular form = iota
	goodbye
	legacy // for a host that has asked by the rules of unicast DNS
)

// header returns the header of a record, which is unique if no other host has one of this name and
// type.
func (f form) header(name dnsmessage.Name, unique bool, ttl uint32) dnsmessage.ResourceHeader {
	h := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: ttl}
	switch f {
	case goodbye:
		h.TTL = 0
	case legacy:
		h.TTL = ttlLegacy
	}
	if unique && f != legacy {
		h.Class |= cacheFlush
	}
	return h
}

// resource is a record of ours.
type resource struct {
	name   dnsmessage.Name
	typ    dnsmessage.Type
	append func(b *dnsmessage.Builder, f form)
}

// resources returns the records of the instance and its host, as they are announced on l.
func (n names) resources(l *link, port uint16) []resource {
	all := []resource{
		{n.service, dnsmessage.TypePTR, func(b *dnsmessage.Builder, f form) {
			_ = b.PTRResource(f.header(n.service, false, ttlService), dnsmessage.PTRResource{PTR: n.instance})
		}},
		{n.instance, dnsmessage.TypeSRV, func(b *dnsmessage.Builder, f form) {
			_ = b.SRVResource(f.header(n.instance, true, ttlHost), dnsmessage.SRVResource{Port: port, Target: n.host})
		}},
		{n.instance, dnsmessage.TypeTXT, func(b *dnsmessage.Builder, f form) {
			_ = b.TXTResource(f.header(n.instance, true, ttlService), dnsmessage.TXTResource{TXT: []string{""}})
		}},
	}
	for _, a := range l.addrs {
		all = append(all, n.address(a))
	}
	return all
}

func (n names) address(a netip.Addr) resource {
	if a.Is4() {
		return resource{n.host, dnsmessage.TypeA, func(b *dnsmessage.Builder, f form) {
			_ = b.AResource(f.header(n.host, true, ttlHost), dnsmessage.AResource{A: a.As4()})
		}}
	}
	return resource{n.host, dnsmessage.TypeAAAA, func(b *dnsmessage.Builder, f form) {
		_ = b.AAAAResource(f.header(n.host, true, ttlHost), dnsmessage.AAAAResource{AAAA: a.As16()})
	}}
}

// serviceType is the record that lists the service (RFC 6763, section 9).
func (n names) serviceType() resource {
	return resource{serviceTypesName, dnsmessage.TypePTR, func(b *dnsmessage.Builder, f form) {
		_ = b.PTRResource(f.header(serviceTypesName, false, ttlService), dnsmessage.PTRResource{PTR: n.service})
	}}
}
