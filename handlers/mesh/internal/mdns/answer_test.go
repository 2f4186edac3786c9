package mdns

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"
)

func TestTopics(t *testing.T) {
	n := fixedNames(t)
	knows := func(ttl uint32) []record { return []record{{name: n.service, ptr: true, target: n.instance, ttl: ttl}} }
	tests := []struct {
		name    string
		q       string
		typ     dnsmessage.Type
		records []record
		want    topics
	}{
		{"service", "_X._TCP.local.", dnsmessage.TypePTR, nil, topicRecords},
		{"known", "_x._tcp.local.", dnsmessage.TypePTR, knows(ttlService), 0},
		{"not for long", "_x._tcp.local.", dnsmessage.TypePTR, knows(ttlService / 3), topicRecords},
		{"another service", "_y._tcp.local.", dnsmessage.TypePTR, nil, 0},
		{"instance", "0af._x._tcp.local.", dnsmessage.TypeSRV, nil, topicRecords},
		{"probe", "0af._x._tcp.local.", dnsmessage.TypeALL, nil, topicProbe},
		{"host", "H.local.", dnsmessage.TypeAAAA, nil, topicRecords},
		{"services", "_services._dns-sd._udp.local.", dnsmessage.TypePTR, nil, topicTypes},
		{"address of the service", "_x._tcp.local.", dnsmessage.TypeA, nil, 0},
	}
	both := message{questions: []dnsmessage.Question{
		{Name: serviceTypesName, Type: dnsmessage.TypePTR}, {Name: n.service, Type: dnsmessage.TypePTR},
	}}
	if got := n.topics(both); got != topicRecords|topicTypes {
		t.Errorf("topics() of two questions = %d, want %d", got, topicRecords|topicTypes)
	}
	for _, tt := range tests {
		m := message{questions: []dnsmessage.Question{question(tt.q, tt.typ)}, records: tt.records}
		if got := n.topics(m); got != tt.want {
			t.Errorf("%s: topics() = %d, want %d", tt.name, got, tt.want)
		}
	}
}

// A truncated query waits for the known answers that follow from the same host, and is not answered
// if the answer is among them (RFC 6762, section 7.2).
func TestTruncatedQuery(t *testing.T) {
	n := fixedNames(t)
	query := message{questions: []dnsmessage.Question{{Name: n.service, Type: dnsmessage.TypePTR}}, truncated: true}
	known := message{records: []record{{name: n.service, ptr: true, target: n.instance, ttl: ttlService}}}
	a, b := netip.MustParseAddrPort("192.0.2.1:5353"), netip.MustParseAddrPort("192.0.2.2:5353")
	type step struct {
		from netip.AddrPort
		m    message
	}
	whole := query
	whole.truncated = false
	tests := []struct {
		name  string
		steps []step
		least time.Duration // before it is answered
		due   bool
	}{
		{"it is whole", []step{{a, whole}}, answerDelay, true},
		{"nothing follows", []step{{a, query}}, truncatedDelay, true},
		{"it knows", []step{{a, query}, {a, known}}, truncatedDelay, false},
		{"another one knows", []step{{a, query}, {b, known}}, truncatedDelay, true},
		{"two ask, one knows", []step{{a, query}, {b, query}, {a, known}}, truncatedDelay, true},
		{"it asks whole, and knows later", []step{{a, whole}, {a, known}}, answerDelay, true},
	}
	for _, tt := range tests {
		l := &link{}
		r := &responder{names: n, announced: true}
		begun := time.Now()
		for _, s := range tt.steps {
			r.answer(l, packet{from: s.from}, s.m)
		}
		if l.records.due != tt.due || len(r.tasks) != 1 {
			t.Fatalf("%s: due %t with %d tasks, want %t", tt.name, l.records.due, len(r.tasks), tt.due)
		}
		if got := r.tasks[0].at.Sub(begun); got < tt.least {
			t.Errorf("%s: answered after %v, want %v at least", tt.name, got, tt.least)
		}
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
		q := question(tt.q, tt.typ)
		var m dnsmessage.Message
		if err := m.Unpack(n.legacyAnswer(l, 7, message{id: 99, questions: []dnsmessage.Question{q}})); err != nil {
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

// A legacy answer repeats, of many questions, those about our records: no answer goes without its
// question.
func TestLegacyManyQuestions(t *testing.T) {
	n := fixedNames(t)
	l := &link{addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	other := question("other.local.", dnsmessage.TypeA)
	ours := question("h.local.", dnsmessage.TypeA)
	for others := range 12 {
		m := message{id: 99, questions: append(slices.Repeat([]dnsmessage.Question{other}, others), ours)}
		var got dnsmessage.Message
		if err := got.Unpack(n.legacyAnswer(l, 7, m)); err != nil {
			t.Fatal(err)
		}
		if len(got.Answers) != 1 || !slices.Contains(got.Questions, ours) || len(got.Questions) > maxRepeated {
			t.Errorf("behind %d of others: questions %v, answers %v", others, got.Questions, got.Answers)
		}
	}
	m := message{questions: slices.Repeat([]dnsmessage.Question{ours}, 100)}
	if p := n.legacyAnswer(l, 7, m); len(p) > 300 {
		t.Errorf("100 times the same question: %d bytes", len(p))
	}
}

// A program that asks from another port than 5353, such as dig, gets the answer to itself.
func TestLegacyQuery(t *testing.T) {
	t.Parallel()
	typ := service(t)
	r := start(t, Config{Service: typ, Instance: "0A"})
	get(t, "ready", r.ready)
	nc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	lo, err := loopback()
	if err != nil {
		t.Fatal(err)
	}
	p := ipv4.NewPacketConn(nc)
	if err := p.SetMulticastInterface(lo); err != nil {
		t.Fatal(err)
	}
	q := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 77},
		Questions: []dnsmessage.Question{question(typ+".local.", dnsmessage.TypePTR)},
	}
	data, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var a dnsmessage.Message
	buf := make([]byte, 1500)
	for late := time.Now().Add(patience); len(a.Answers) == 0; {
		if time.Now().After(late) {
			t.Fatal("no answer")
		}
		if _, err := p.WriteTo(data, nil, net.UDPAddrFromAddrPort(group4)); err != nil {
			t.Fatal(err)
		}
		_ = nc.SetReadDeadline(time.Now().Add(time.Second))
		if n, _, err := nc.ReadFrom(buf); err == nil {
			_ = a.Unpack(buf[:n])
		}
	}
	ptr, ok := a.Answers[0].Body.(*dnsmessage.PTRResource)
	if !ok || a.ID != 77 || len(a.Questions) != 1 || ptr.PTR.String() != "0A."+typ+".local." || a.Answers[0].Header.TTL != ttlLegacy {
		t.Errorf("answer = %v", a.GoString())
	}
}

func loopback() (*net.Interface, error) {
	list, err := net.Interfaces()
	i := slices.IndexFunc(list, func(i net.Interface) bool { return i.Flags&net.FlagLoopback != 0 })
	if err != nil || i < 0 {
		return nil, fmt.Errorf("no loopback interface: %v", err)
	}
	return &list[i], nil
}
