package mdns

import (
	"errors"
	"net/netip"

	"golang.org/x/net/dns/dnsmessage"
)

// message is a packet that was parsed, as far as it concerns us.
type message struct {
	id        uint16
	response  bool
	truncated bool // more known answers follow
	questions []dnsmessage.Question
	records   []record // of all sections
}

// record is a PTR, an SRV or an address.
type record struct {
	name     dnsmessage.Name
	ttl      uint32
	flush    bool
	ptr, srv bool
	target   dnsmessage.Name // of PTR and SRV
	port     uint16
	addr     netip.Addr
}

// maxRecords is how many records of a packet are looked at.
const maxRecords = 512

// errIgnored is the error of a message that must be ignored.
var errIgnored = errors.New("an opcode or response code other than 0")

// parseMessage parses a packet, up to what is malformed. It ignores the bits of the header that a
// receiver must ignore by RFC 6762, section 18.
func parseMessage(data []byte) (m message, err error) {
	var p dnsmessage.Parser
	h, err := p.Start(data)
	if err != nil {
		return m, err
	}
	if h.OpCode != 0 || h.RCode != dnsmessage.RCodeSuccess { // sections 18.3 and 18.11
		return m, errIgnored
	}
	m.id, m.response, m.truncated = h.ID, h.Response, h.Truncated && !h.Response
	for range maxRecords {
		q, err := p.Question()
		if err != nil {
			break
		}
		q.Class &^= cacheFlush // here it asks for a unicast answer (section 5.4)
		if q.Class == dnsmessage.ClassINET || q.Class == dnsmessage.ClassANY {
			m.questions = append(m.questions, q)
		}
	}
	if err := p.SkipAllQuestions(); err != nil {
		return m, nil
	}
	sections := []func() (dnsmessage.Resource, error){p.Answer, p.Authority, p.Additional}
	for _, next := range sections {
		for len(m.records) < maxRecords {
			r, err := next()
			if err == dnsmessage.ErrSectionDone {
				break
			}
			if err != nil {
				return m, nil
			}
			if rec, ok := newRecord(r); ok {
				m.records = append(m.records, rec)
			}
		}
	}
	return m, nil
}

func newRecord(r dnsmessage.Resource) (record, bool) {
	rec := record{name: r.Header.Name, ttl: r.Header.TTL, flush: r.Header.Class&cacheFlush != 0}
	if r.Header.Class&^cacheFlush != dnsmessage.ClassINET {
		return rec, false
	}
	switch b := r.Body.(type) {
	case *dnsmessage.PTRResource:
		rec.ptr, rec.target = true, b.PTR
	case *dnsmessage.SRVResource:
		rec.srv, rec.target, rec.port = true, b.Target, b.Port
	case *dnsmessage.AResource:
		rec.addr = netip.AddrFrom4(b.A)
	case *dnsmessage.AAAAResource:
		rec.addr = netip.AddrFrom16(b.AAAA)
	default:
		return rec, false
	}
	return rec, true
}
