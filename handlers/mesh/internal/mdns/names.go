package mdns

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// names are the domain names of our records.
type names struct {
	service, instance, host dnsmessage.Name
	valid                   func(name string) bool // of an instance
}

// serviceTypesName is what a host asks for that lists the services of a network (RFC 6763, section
// 9).
var serviceTypesName = dnsmessage.MustNewName("_services._dns-sd._udp.local.")

func newNames(c Config) (names, error) {
	n := names{valid: c.Valid}
	if n.valid == nil {
		n.valid = func(string) bool { return true }
	}
	var err error
	if n.service, err = dnsmessage.NewName(c.Service + ".local."); err != nil {
		return n, fmt.Errorf("name of the service: %w", err)
	}
	if n.instance, err = n.nameOf(c.Instance); err != nil {
		return n, fmt.Errorf("name of the instance: %w", err)
	}
	if n.host, err = dnsmessage.NewName(c.Host + ".local."); err != nil {
		return n, fmt.Errorf("name of the host: %w", err)
	}
	return n, nil
}

// same reports whether two names are equal but for the case of ASCII letters (RFC 6762, section
// 16).
func same(a, b dnsmessage.Name) bool { return lower(a.String()) == lower(b.String()) }

func lower(s string) string { return shift(s, 'A', 'a') }
func upper(s string) string { return shift(s, 'a', 'A') }

// shift replaces each of the 26 bytes from from by the one at the same place from to.
func shift(s string, from, to byte) string {
	b := []byte(s)
	for i, c := range b {
		if c >= from && c < from+26 {
			b[i] = c - from + to
		}
	}
	return string(b)
}

func (n names) isInstance(name dnsmessage.Name) bool { return same(name, n.instance) }
func (n names) isHost(name dnsmessage.Name) bool     { return same(name, n.host) }

// nameOf returns the domain name of an instance of the service.
func (n names) nameOf(instance string) (dnsmessage.Name, error) {
	return dnsmessage.NewName(instance + "." + n.service.String())
}

// instanceOf returns the instance of the service that has this domain name, in upper case.
func (n names) instanceOf(name dnsmessage.Name) (string, bool) {
	instance, service, _ := strings.Cut(name.String(), ".")
	if lower(service) != lower(n.service.String()) || !n.valid(instance) {
		return "", false
	}
	return upper(instance), true
}

// lesser reports whether our SRV is before that of another host's probe.
func (n names) lesser(port uint16, rec record) bool {
	if port != rec.port {
		return port < rec.port
	}
	return lower(n.host.String()) < lower(rec.target.String())
}

// topics is what a query is about, a bit each.
type topics int

const (
	topicTypes  topics = 1 << iota // which services the network has (RFC 6763, section 9)
	topicShared                    // our PTR, beside which other hosts have theirs
	topicUnique                    // our other records
	topicProbe                     // the name of our instance, which another host wants
)

// topics returns what a query asks us for. It leaves out what the query names as a known answer.
func (n names) topics(m message) (t topics) {
	for _, q := range m.questions {
		all := q.Type == dnsmessage.TypeALL
		switch {
		case n.isInstance(q.Name) && all:
			t |= topicProbe
		case same(q.Name, serviceTypesName) && (all || q.Type == dnsmessage.TypePTR):
			if !knows(m.records, serviceTypesName, n.service) {
				t |= topicTypes
			}
		case same(q.Name, n.service) && (all || q.Type == dnsmessage.TypePTR):
			if !knows(m.records, n.service, n.instance) {
				t |= topicShared
			}
		case n.isInstance(q.Name) && (q.Type == dnsmessage.TypeSRV || q.Type == dnsmessage.TypeTXT):
			t |= topicUnique
		case n.isHost(q.Name) && (all || q.Type == dnsmessage.TypeA || q.Type == dnsmessage.TypeAAAA):
			t |= topicUnique
		}
	}
	return t
}

// knows reports whether a PTR is among the known answers (RFC 6762, section 7.1).
func knows(records []record, name, target dnsmessage.Name) bool {
	return slices.ContainsFunc(records, func(r record) bool {
		return r.ptr && same(r.name, name) && same(r.target, target) && r.ttl >= ttlService/2
	})
}

// undercut reports whether a response has our PTR with less than half of its time, as a goodbye
// has: then we announce it again (RFC 6762, section 6.6).
func (n names) undercut(records []record) bool {
	return slices.ContainsFunc(records, func(r record) bool {
		return r.ptr && same(r.name, n.service) && same(r.target, n.instance) && r.ttl < ttlService/2
	})
}
