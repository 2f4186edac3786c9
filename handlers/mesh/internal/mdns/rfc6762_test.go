package mdns

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// A receiver ignores some messages, and some bits of others (RFC 6762, section 18).
func TestHeader(t *testing.T) {
	n := fixedNames(t)
	l := &link{addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	tests := []struct {
		name    string
		at      int // the offset in the header
		bits    byte
		ignored bool
	}{
		{"nothing special", 2, 0, false},
		{"18.1, ID", 0, 0xff, false},
		{"18.3, opcode 1", 2, 1 << 3, true},
		{"18.3, opcode 15", 2, 15 << 3, true},
		{"18.4, AA", 2, 4, false},
		{"18.5, TC", 2, 2, false},
		{"18.6, RD", 2, 1, false},
		{"18.7, RA", 3, 0x80, false},
		{"18.8, Z", 3, 0x40, false},
		{"18.9, AD", 3, 0x20, false},
		{"18.10, CD", 3, 0x10, false},
		{"18.11, rcode 1", 3, 1, true},
		{"18.11, rcode 15", 3, 15, true},
	}
	for _, tt := range tests {
		for kind, sent := range map[string][]byte{"response": n.announcement(l, 7, regular), "query": n.probe(7)} {
			want, err := parseMessage(sent)
			if err != nil {
				t.Fatal(err)
			}
			changed := slices.Clone(sent)
			changed[tt.at] ^= tt.bits
			got, err := parseMessage(changed)
			if (err != nil) != tt.ignored {
				t.Errorf("%s, %s: error %v, want ignored %t", tt.name, kind, err, tt.ignored)
			}
			if err == nil && (len(got.records) != len(want.records) || len(got.questions) != len(want.questions)) {
				t.Errorf("%s, %s: %d questions and %d records, want %d and %d", tt.name, kind,
					len(got.questions), len(got.records), len(want.questions), len(want.records))
			}
			if got.truncated && (kind == "response" || tt.bits != 2) {
				t.Errorf("%s, %s: truncated", tt.name, kind)
			}
		}
	}
}

// Messages that are sent have zero in every header field that must be zero (section 18).
func TestHeaderSent(t *testing.T) {
	n, c := fixedNames(t), newCache("0B")
	l := &link{addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	for i, p := range slices.Concat([][]byte{n.probe(7)}, n.query(&c, time.Now())) {
		if string(p[:4]) != "\x00\x00\x00\x00" {
			t.Errorf("query %d: %x", i, p[:4])
		}
	}
	for i, p := range [][]byte{n.announcement(l, 7, regular), n.announcement(l, 7, goodbye), n.serviceTypes(), n.withdrawal()} {
		if string(p[:4]) != "\x00\x00\x84\x00" {
			t.Errorf("response %d: %x", i, p[:4])
		}
	}
}

// Questions of classes other than IN and ANY are ignored (section 18.12).
func TestQuestionClass(t *testing.T) {
	n := fixedNames(t)
	for class, want := range map[dnsmessage.Class]topics{
		dnsmessage.ClassINET: topicShared, dnsmessage.ClassANY: topicShared, dnsmessage.ClassINET | cacheFlush: topicShared,
		dnsmessage.ClassCHAOS: 0, dnsmessage.ClassHESIOD | cacheFlush: 0,
	} {
		q := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: n.service, Type: dnsmessage.TypePTR, Class: class}}}
		p, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		m, err := parseMessage(p)
		if got := n.topics(m); got != want || err != nil {
			t.Errorf("class %d: topics() = %d, %v, want %d", class, got, err, want)
		}
	}
}

func FuzzMessage(f *testing.F) {
	n := fixedNames(f)
	l := &link{index: 1, name: "lo", addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}}
	f.Add(n.announcement(l, 7, regular))
	f.Add(n.probe(7))
	f.Add(n.serviceTypes())
	f.Add(bytes.Repeat([]byte{0xc0, 0x0c}, 20))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseMessage(data)
		if err != nil {
			return
		}
		if len(m.questions) > maxRecords || len(m.records) > maxRecords {
			t.Fatalf("%d questions, %d records", len(m.questions), len(m.records))
		}
		n.topics(m)
		if p := n.legacyAnswer(l, 7, m); len(p) == 0 {
			t.Fatal("no answer")
		}
		c := newCache("0B")
		found, _ := c.learn(n, m.records, l, time.Now())
		for _, i := range found {
			if !isHex(i.Name) || i.Name != strings.ToUpper(i.Name) {
				t.Fatalf("found %q", i.Name)
			}
		}
		for _, q := range n.query(&c, time.Now()) {
			if _, err := parseMessage(q); err != nil {
				t.Fatalf("our own query: %v", err)
			}
		}
	})
}

// Whatever comes, the responder goes on, and keeps a bounded number of tasks and instances.
func FuzzHandle(f *testing.F) {
	n := fixedNames(f)
	other := namesOf(f, "0AF", "other.local.")
	l := &link{index: 1, name: "lo", addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}
	c := newCache("0B")
	for _, p := range slices.Concat(n.query(&c, time.Now()), [][]byte{
		n.announcement(l, 7, regular), other.announcement(l, 7, regular), n.probe(7), other.probe(9), n.serviceTypes(), n.withdrawal(),
	}) {
		for mode := range uint8(4) {
			f.Add(p, p, mode)
		}
	}
	f.Fuzz(func(t *testing.T, first, second []byte, mode uint8) {
		l := &link{index: 1, name: "lo", addrs: l.addrs}
		r := newResponder(Config{Instance: "0AF", Addr: netip.MustParseAddrPort("127.0.0.1:7")},
			Events{Found: func(Instance) {}, Failed: func(error) {}, Ready: func() {}}, n)
		r.links[1], r.announced, r.probed = l, mode&1 != 0, 1
		from := netip.MustParseAddrPort("127.0.0.2:5353")
		if mode&2 != 0 {
			from = netip.AddrPortFrom(from.Addr(), 40000)
		}
		for range 20 {
			for _, p := range [][]byte{first, second} {
				r.handle(packet{data: p, from: from, ifindex: 1})
			}
		}
		const most = 40 + 1 // delayed probes, and a query
		if len(r.tasks) > most || len(r.cache.instances) > maxInstances {
			t.Errorf("%d tasks, %d instances", len(r.tasks), len(r.cache.instances))
		}
		for _, task := range r.tasks {
			task.do()
		}
		r.sendAnswers(time.Now().Add(time.Hour))
	})
}
