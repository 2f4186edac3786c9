package mesh

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"
)

// What RFC 6762, section 18, has a receiver ignore is ignored: some messages, and some bits of
// them.
func TestHeader(t *testing.T) {
	n := fixedNames(t)
	l := &link{addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	tests := []struct {
		name    string
		at      int // byte of the header
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
		for kind, sent := range map[string][]byte{"response": n.records(l, 7, lasting), "query": n.probe(7)} {
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

// What is sent has zero in every field of the header that section 18 wants to be zero.
func TestHeaderSent(t *testing.T) {
	n, c := fixedNames(t), newCache("0B")
	l := &link{addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	for i, p := range slices.Concat([][]byte{n.probe(7)}, n.query(&c, time.Now())) {
		if string(p[:4]) != "\x00\x00\x00\x00" {
			t.Errorf("query %d: %x", i, p[:4])
		}
	}
	for i, p := range [][]byte{n.records(l, 7, lasting), n.records(l, 7, farewell), n.enumeration(), n.withdrawn()} {
		if string(p[:4]) != "\x00\x00\x84\x00" {
			t.Errorf("response %d: %x", i, p[:4])
		}
	}
}

// Questions of another class than IN or ANY are none of ours (section 18.12).
func TestQuestionClass(t *testing.T) {
	n := fixedNames(t)
	for class, want := range map[dnsmessage.Class]subject{
		dnsmessage.ClassINET: ours, dnsmessage.ClassANY: ours, dnsmessage.ClassINET | cacheFlush: ours,
		dnsmessage.ClassCHAOS: 0, dnsmessage.ClassHESIOD | cacheFlush: 0,
	} {
		q := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: n.service, Type: dnsmessage.TypePTR, Class: class}}}
		p, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		m, err := parseMessage(p)
		if got := n.asks(m); got != want || err != nil {
			t.Errorf("class %d: asks() = %d, %v, want %d", class, got, err, want)
		}
	}
}

// A record with the cache-flush bit replaces what is older than a second, on its link and of its
// family (RFC 6762, section 10.2).
func TestCacheFlush(t *testing.T) {
	n, now := fixedNames(t), time.Now()
	l := &link{index: 1, name: "eth0"}
	c := newCache("0AF")
	tests := []struct {
		name  string
		after time.Duration // since the one before
		v     validity
		addrs []string
		want  string
	}{
		{"first", 0, lasting, []string{"192.0.2.1"}, "[192.0.2.1:7]"},
		{"the rest of it, in another packet", 900 * time.Millisecond, lasting, []string{"192.0.2.2"}, "[192.0.2.1:7 192.0.2.2:7]"},
		{"the first is older than a second", 200 * time.Millisecond, lasting, []string{"192.0.2.3"}, "[192.0.2.2:7 192.0.2.3:7]"},
		{"the other family", time.Minute, lasting, []string{"2001:db8::1"}, "[192.0.2.2:7 192.0.2.3:7 [2001:db8::1]:7]"},
		{"again", time.Minute, lasting, []string{"192.0.2.3", "192.0.2.4"}, "[192.0.2.3:7 192.0.2.4:7 [2001:db8::1]:7]"},
	}
	for _, tt := range tests {
		now = now.Add(tt.after)
		peers, _ := c.learn(n, announcement(t, "0B", "b.local.", tt.v, tt.addrs...), l, now)
		if len(peers) != 1 || fmt.Sprint(peers[0].Addrs) != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, peers, tt.want)
		}
	}
	// An address that says goodbye goes at once, those of the last second beside it stay.
	gone := announcement(t, "0B", "b.local.", farewell, "192.0.2.4")
	if peers, _ := c.learn(n, gone[2:], l, now); len(peers) != 1 || fmt.Sprint(peers[0].Addrs) != "[192.0.2.3:7 [2001:db8::1]:7]" {
		t.Errorf("goodbye of an address: %v", peers)
	}
}

// A legacy query is answered with what it asks for, and what comes next as additional records.
func TestLegacyAnswers(t *testing.T) {
	n := fixedNames(t)
	l := &link{addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fe80::1")}}
	tests := []struct {
		name             string
		q                string
		typ              dnsmessage.Type
		want, additional string
	}{
		{"service", "_X._tcp.local.", dnsmessage.TypePTR, "[TypePTR]", "[TypeSRV TypeTXT TypeA TypeAAAA]"},
		{"instance", "0AF._x._tcp.local.", dnsmessage.TypeSRV, "[TypeSRV]", "[TypeTXT TypeA TypeAAAA]"},
		{"text", "0AF._x._tcp.local.", dnsmessage.TypeTXT, "[TypeTXT]", "[]"},
		{"all of the instance", "0AF._x._tcp.local.", dnsmessage.TypeALL, "[TypeSRV TypeTXT]", "[TypeA TypeAAAA]"},
		{"IPv4", "h.local.", dnsmessage.TypeA, "[TypeA]", "[]"},
		{"IPv6", "h.local.", dnsmessage.TypeAAAA, "[TypeAAAA]", "[]"},
		{"services", "_services._dns-sd._udp.local.", dnsmessage.TypePTR, "[TypePTR]", "[]"},
	}
	for _, tt := range tests {
		q := dnsmessage.Question{Name: dnsmessage.MustNewName(tt.q), Type: tt.typ, Class: dnsmessage.ClassINET}
		var m dnsmessage.Message
		if err := m.Unpack(n.legacy(l, 7, message{id: 99, questions: []dnsmessage.Question{q}})); err != nil {
			t.Fatal(err)
		}
		if m.ID != 99 || !m.Response || !m.Authoritative || len(m.Questions) != 1 || m.Questions[0] != q {
			t.Errorf("%s: header %v, questions %v", tt.name, m.Header, m.Questions)
		}
		types := func(all []dnsmessage.Resource) string {
			list := []dnsmessage.Type{}
			for _, r := range all {
				list = append(list, r.Header.Type)
				if r.Header.TTL > ttlLegacy || r.Header.Class != dnsmessage.ClassINET {
					t.Errorf("%s: TTL %d, class %x", tt.name, r.Header.TTL, uint16(r.Header.Class))
				}
			}
			return fmt.Sprint(list)
		}
		if got := types(m.Answers); got != tt.want {
			t.Errorf("%s: answers %s, want %s", tt.name, got, tt.want)
		}
		if got := types(m.Additionals); got != tt.additional {
			t.Errorf("%s: additional records %s, want %s", tt.name, got, tt.additional)
		}
	}
}

// Of many questions those are repeated that are about the node: an answer never goes without its
// question.
func TestLegacyManyQuestions(t *testing.T) {
	n := fixedNames(t)
	l := &link{addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	other := dnsmessage.Question{Name: dnsmessage.MustNewName("other.local."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	ours := dnsmessage.Question{Name: n.host, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	for others := range 12 {
		m := message{id: 99, questions: append(slices.Repeat([]dnsmessage.Question{other}, others), ours)}
		var got dnsmessage.Message
		if err := got.Unpack(n.legacy(l, 7, m)); err != nil {
			t.Fatal(err)
		}
		if len(got.Answers) != 1 || !slices.Contains(got.Questions, ours) || len(got.Questions) > maxRepeated {
			t.Errorf("behind %d of others: questions %v, answers %v", others, got.Questions, got.Answers)
		}
	}
	m := message{questions: slices.Repeat([]dnsmessage.Question{ours}, 100)}
	if p := n.legacy(l, 7, m); len(p) > 300 {
		t.Errorf("100 times the same question: %d bytes", len(p))
	}
}

// An SRV that says goodbye is valid for a second more (RFC 6762, section 10.1).
func TestGoodbyeOfService(t *testing.T) {
	n, now := fixedNames(t), time.Now()
	l := &link{index: 1, name: "eth0"}
	c := newCache("0AF")
	here := announcement(t, "0B", "b.local.", lasting, "192.0.2.1")
	c.learn(n, here, l, now)
	gone := announcement(t, "0B", "b.local.", farewell)[1:2] // its SRV
	c.learn(n, gone, l, now)
	if _, ok := c.peer("0B", now.Add(900*time.Millisecond)); !ok {
		t.Error("it is gone within a second")
	}
	later := now.Add(1100 * time.Millisecond)
	if p, ok := c.peer("0B", later); ok {
		t.Errorf("after a second: %v", p)
	}
	if got := c.missing(n, later); len(got) != 1 || got[0].Type != dnsmessage.TypeSRV {
		t.Errorf("after a second it asks %v, want for the SRV", got)
	}
	c.learn(n, here, l, later)
	if _, ok := c.peer("0B", later); !ok {
		t.Error("it is not back after an announcement")
	}
}

// Before a node with an id of its own is announced, its earlier life says goodbye: those who have
// it in their cache hear of it anew. An id that was made up has had none.
func TestGoodbyeBeforeAnnouncement(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"0A", ""} {
		name := testName(t)
		heard := eavesdrop(t, "_"+name+"._tcp.local.")
		listen(t, &Node{Name: name, ID: id})
		var withdrawn bool
		deadline := time.After(patience)
		for announced := false; !announced; {
			select {
			case ttl := <-heard:
				switch {
				case ttl == 0:
					withdrawn = true
				case id != "" && !withdrawn:
					t.Errorf("%q is announced before a goodbye", id)
					announced = true
				default:
					announced = true
				}
			case <-deadline:
				t.Fatal("no announcement")
			}
		}
		if id == "" && withdrawn {
			t.Error("a made-up id says goodbye")
		}
	}
}

// The announcement comes a second or more behind the last goodbye, also when that was late.
func TestGoodbyeIsHeeded(t *testing.T) {
	for _, late := range []time.Duration{0, 500 * time.Millisecond, 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			r := &responder{mdns: &MDNS{}, names: fixedNames(t), links: map[int]*link{}}
			r.begin()
			if len(r.tasks) != 1 {
				t.Fatalf("%d tasks at the goodbye, want its repetition alone", len(r.tasks))
			}
			time.Sleep(time.Until(r.next()) + late)
			r.due()
			if len(r.tasks) != 1 || time.Until(r.next()) < time.Second || !r.quiet.Equal(r.next()) {
				t.Errorf("late by %v: the announcement is due in %v", late, time.Until(r.next()))
			}
		})
	}
}

// eavesdrop returns the TTLs of the PTRs of a service in responses on the loopback interface.
func eavesdrop(t *testing.T, service string) <-chan uint32 {
	t.Helper()
	lo, err := loopback()
	if err != nil {
		t.Fatal(err)
	}
	pc, err := listen4(lo)
	if err != nil {
		t.Fatal(err)
	}
	if err := ipv4.NewPacketConn(pc).SetMulticastInterface(lo); err != nil {
		t.Fatal(err)
	}
	all := make(chan uint32, 64)
	done := make(chan struct{})
	go func() { // ends when pc is closed
		defer close(done)
		buf := make([]byte, maxPacket)
		for {
			n, _, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			m, err := parseMessage(buf[:n])
			if err != nil || !m.response {
				continue
			}
			for _, r := range m.records {
				if r.ptr && r.name.String() == service && len(all) < cap(all) {
					all <- r.ttl
				}
			}
		}
	}()
	t.Cleanup(func() {
		pc.Close()
		<-done
	})
	return all
}

// FuzzHandle: whatever comes from whoever, the responder goes on, and owes and keeps a bounded
// amount.
func FuzzHandle(f *testing.F) {
	n := names{
		service: dnsmessage.MustNewName("_x._tcp.local."), instance: dnsmessage.MustNewName("0AF._x._tcp.local."),
		host: dnsmessage.MustNewName("h.local."),
	}
	other := n
	other.host = dnsmessage.MustNewName("other.local.")
	l := &link{index: 1, name: "lo", addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}
	c := newCache("0B")
	for _, p := range slices.Concat(n.query(&c, time.Now()), [][]byte{
		n.records(l, 7, lasting), other.records(l, 7, lasting), n.probe(7), other.probe(9), n.enumeration(), n.withdrawn(),
	}) {
		for mode := range uint8(4) {
			f.Add(p, p, mode)
		}
	}
	f.Fuzz(func(t *testing.T, first, second []byte, mode uint8) {
		l := &link{index: 1, name: "lo", addrs: l.addrs}
		r := &responder{
			mdns: &MDNS{}, self: Self{Name: "x", ID: "0AF", Addr: netip.MustParseAddrPort("127.0.0.1:7")}, names: n,
			events: Events{Found: func(Peer) {}, Failed: func(error) {}, Ready: func() {}},
			links:  map[int]*link{1: l}, cache: newCache("0AF"), announced: mode&1 != 0, probed: 1,
		}
		from := netip.MustParseAddrPort("127.0.0.2:5353")
		if mode&2 != 0 {
			from = netip.AddrPortFrom(from.Addr(), 40000)
		}
		for range 20 {
			for _, p := range [][]byte{first, second} {
				r.handle(packet{data: p, from: from, ifindex: 1})
			}
		}
		const most = 2 + 40 + 1 // debts, probes that were put off, a query
		if len(r.tasks) > most || len(r.cache.known) > maxPeers {
			t.Errorf("%d tasks, %d nodes", len(r.tasks), len(r.cache.known))
		}
		for _, task := range r.tasks {
			task.do()
		}
	})
}
