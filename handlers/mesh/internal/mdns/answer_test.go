package mdns

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
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
		{"service", "_X._TCP.local.", dnsmessage.TypePTR, nil, topicShared},
		{"known", "_x._tcp.local.", dnsmessage.TypePTR, knows(ttlService), 0},
		{"not for long", "_x._tcp.local.", dnsmessage.TypePTR, knows(ttlService / 3), topicShared},
		{"another service", "_y._tcp.local.", dnsmessage.TypePTR, nil, 0},
		{"instance", "0af._x._tcp.local.", dnsmessage.TypeSRV, nil, topicUnique},
		{"probe", "0af._x._tcp.local.", dnsmessage.TypeALL, nil, topicProbe},
		{"host", "H.local.", dnsmessage.TypeAAAA, nil, topicUnique},
		{"services", "_services._dns-sd._udp.local.", dnsmessage.TypePTR, nil, topicTypes},
		{"address of the service", "_x._tcp.local.", dnsmessage.TypeA, nil, 0},
	}
	both := message{questions: []dnsmessage.Question{
		{Name: serviceTypesName, Type: dnsmessage.TypePTR}, {Name: n.service, Type: dnsmessage.TypePTR},
	}}
	if got := n.topics(both); got != topicShared|topicTypes {
		t.Errorf("topics() of two questions = %d, want %d", got, topicShared|topicTypes)
	}
	for _, tt := range tests {
		m := message{questions: []dnsmessage.Question{question(tt.q, tt.typ)}, records: tt.records}
		if got := n.topics(m); got != tt.want {
			t.Errorf("%s: topics() = %d, want %d", tt.name, got, tt.want)
		}
	}
}

// The answer to a truncated query waits for known answers that follow from the same host, and is
// not sent if it is among them (RFC 6762, section 7.2).
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
		least time.Duration // before the answer
		due   bool
	}{
		{"it is whole", []step{{a, whole}}, answerDelay, true},
		{"nothing follows", []step{{a, query}}, truncatedDelay, true},
		{"it knows", []step{{a, query}, {a, known}}, 0, false},
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
		if due := !l.records.at.IsZero(); due != tt.due {
			t.Errorf("%s: due %t, want %t", tt.name, due, tt.due)
		}
		if got := l.records.at.Sub(begun); tt.due && got < tt.least {
			t.Errorf("%s: answered after %v, want %v at least", tt.name, got, tt.least)
		}
	}
}

// A record is sent at most once a second on a link. What was sent meanwhile answers everybody who
// waits for it (RFC 6762, section 6).
func TestAnswerPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResponder(Config{Rescan: time.Hour}, Events{}, fixedNames(t))
		l := &link{}
		r.links[1], r.announced = l, true
		r.after(time.Hour, func() {})
		from := netip.MustParseAddrPort("192.0.2.1:5353")
		ask := func(truncated bool) {
			q := question("_x._tcp.local.", dnsmessage.TypePTR)
			r.answer(l, packet{from: from}, message{questions: []dnsmessage.Question{q}, truncated: truncated})
		}
		step := func(d time.Duration) { // runs for d, and stays in the second after an answer
			for end := time.Now().Add(d); r.next().Before(end); r.due() {
				time.Sleep(time.Until(r.next()))
			}
		}
		ask(false)
		announced := time.Now()
		r.announceOn(l)
		step(5 * time.Second)
		if !l.records.last.Equal(announced) {
			t.Errorf("it is sent again %v after an announcement that has answered", l.records.last.Sub(announced))
		}
		r.announceOn(l)
		announced = time.Now()
		ask(false)
		step(5 * time.Second)
		if got := l.records.last.Sub(announced); got < time.Second {
			t.Errorf("two answers are %v apart", got)
		}
		time.Sleep(5 * time.Second)
		ask(true)
		l.records.suppress(from.Addr())
		asked := time.Now().Add(300 * time.Millisecond)
		time.Sleep(time.Until(asked))
		r.due()
		ask(true)
		step(5 * time.Second)
		if got := l.records.last.Sub(asked); got < truncatedDelay {
			t.Errorf("a truncated query is answered after %v, want %v at least", got, truncatedDelay)
		}
	})
}

// A question for unique records of this host only is answered at once (RFC 6762, section 6).
func TestUniqueAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResponder(Config{}, Events{}, fixedNames(t))
		l := &link{}
		r.announced = true
		for i, q := range []dnsmessage.Question{
			question("0af._x._tcp.local.", dnsmessage.TypeSRV), question("h.local.", dnsmessage.TypeA), question("_x._tcp.local.", dnsmessage.TypePTR),
		} {
			l.records = pendingAnswer{}
			r.answer(l, packet{from: netip.MustParseAddrPort("192.0.2.1:5353")}, message{questions: []dnsmessage.Question{q}})
			if got, shared := time.Until(l.records.at), i == 2; (got >= answerDelay) != shared || !shared && got != 0 {
				t.Errorf("%v: answered in %v", q.Name, got)
			}
		}
	})
}

// A responder announces its PTR again when another host sends it with a short TTL, or in a goodbye
// (section 6.6). It does not list the service type when another host has just done so (section
// 7.4).
func TestResponsesOfOthers(t *testing.T) {
	n := fixedNames(t)
	r := newResponder(Config{Instance: "0AF"}, Events{Found: func(Instance) {}}, n)
	l := &link{index: 1}
	r.links[1], r.announced = l, true
	from := netip.MustParseAddrPort("192.0.2.1:5353")
	r.handle(packet{data: namesOf(t, "0AF", "h.local.").announcement(l, 7, regular), from: from, ifindex: 1})
	if !l.records.at.IsZero() {
		t.Error("it answers its own announcement")
	}
	r.handle(packet{data: n.withdrawal(), from: from, ifindex: 1})
	if l.records.at.IsZero() {
		t.Error("a goodbye is not answered")
	}
	r.answerSoon(&l.types, answerDelay, from.Addr(), false)
	r.handle(packet{data: n.serviceTypes(), from: from, ifindex: 1})
	if !l.types.at.IsZero() {
		t.Error("it lists the service after another host has")
	}
}

// A legacy query is answered with what it asks for, and with related records as additional ones.
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

// Of many questions in a legacy query, the answer repeats those about this host's records: every
// answer comes with its question.
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

// A program that asks from a port other than 5353, such as dig, gets the answer by unicast.
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
	if err := p.SetControlMessage(ipv4.FlagTTL, true); err != nil {
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
		if n, cm, _, err := p.ReadFrom(buf); err == nil && a.Unpack(buf[:n]) == nil && cm.TTL != 255 {
			t.Errorf("the answer has a TTL of %d, want 255 (RFC 6762, section 11)", cm.TTL)
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
