package mesh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"
)

// fixedNames are those of the node 0AF of the mesh x.
func fixedNames(t testing.TB) names {
	t.Helper()
	n, err := newNames("x", "0AF")
	if err != nil {
		t.Fatal(err)
	}
	n.host = dnsmessage.MustNewName("h.local.")
	return n
}

// What goes over the wire is upstream's: service _NAME._tcp, instance the id in upper case, SRV
// port, and TXT one empty string.
func TestAnnouncementBytes(t *testing.T) {
	l := &link{name: "eth0", addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fe80::1")}}
	service, instance, host := "\x02_x\x04_tcp\x05local\x00", "\x030AF\xc0\x0c", "\x01h\xc0\x14"
	tests := []struct {
		name              string
		validity          validity
		class             string // of what is ours alone
		ptr, srv, txt, ip string // times to live
	}{
		{"announcement", lasting, "\x80\x01", "\x00\x00\x11\x94", "\x00\x00\x00\x78", "\x00\x00\x11\x94", "\x00\x00\x00\x78"},
		{"goodbye", farewell, "\x80\x01", "\x00\x00\x00\x00", "\x00\x00\x00\x00", "\x00\x00\x00\x00", "\x00\x00\x00\x00"},
		{"legacy", legacy, "\x00\x01", "\x00\x00\x00\x0a", "\x00\x00\x00\x0a", "\x00\x00\x00\x0a", "\x00\x00\x00\x0a"},
	}
	for _, tt := range tests {
		want := "\x00\x00\x84\x00\x00\x00\x00\x05\x00\x00\x00\x00" +
			service + "\x00\x0c\x00\x01" + tt.ptr + "\x00\x06" + instance +
			"\xc0\x25\x00\x21" + tt.class + tt.srv + "\x00\x0f" + "\x00\x00\x00\x00\x1f\xa4\x01h\x05local\x00" +
			"\xc0\x25\x00\x10" + tt.class + tt.txt + "\x00\x01\x00" +
			host + "\x00\x01" + tt.class + tt.ip + "\x00\x04\xc0\x00\x02\x01" +
			"\xc0\x53\x00\x1c" + tt.class + tt.ip + "\x00\x10\xfe\x80" + strings.Repeat("\x00", 13) + "\x01"
		if got := fixedNames(t).records(l, 8100, tt.validity); string(got) != want {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, got, want)
		}
	}
}

func TestAsks(t *testing.T) {
	n := fixedNames(t)
	name := func(s string) dnsmessage.Name { return dnsmessage.MustNewName(s) }
	knows := func(ttl uint32) []record { return []record{{name: n.service, ptr: true, target: n.instance, ttl: ttl}} }
	tests := []struct {
		name    string
		q       string
		typ     dnsmessage.Type
		records []record
		want    subject
	}{
		{"service", "_X._TCP.local.", dnsmessage.TypePTR, nil, ours},
		{"known", "_x._tcp.local.", dnsmessage.TypePTR, knows(ttlService), 0},
		{"not for long", "_x._tcp.local.", dnsmessage.TypePTR, knows(ttlService / 3), ours},
		{"another service", "_y._tcp.local.", dnsmessage.TypePTR, nil, 0},
		{"instance", "0af._x._tcp.local.", dnsmessage.TypeSRV, nil, ours},
		{"probe", "0af._x._tcp.local.", dnsmessage.TypeALL, nil, probed},
		{"host", "H.local.", dnsmessage.TypeAAAA, nil, ours},
		{"services", "_services._dns-sd._udp.local.", dnsmessage.TypePTR, nil, enumeration},
		{"address of the service", "_x._tcp.local.", dnsmessage.TypeA, nil, 0},
	}
	both := message{questions: []dnsmessage.Question{
		{Name: servicesName, Type: dnsmessage.TypePTR}, {Name: n.service, Type: dnsmessage.TypePTR},
	}}
	if got := n.asks(both); got != ours|enumeration {
		t.Errorf("asks() of two questions = %d, want %d", got, ours|enumeration)
	}
	for _, tt := range tests {
		m := message{questions: []dnsmessage.Question{{Name: name(tt.q), Type: tt.typ}}, records: tt.records}
		if got := n.asks(m); got != tt.want {
			t.Errorf("%s: asks() = %d, want %d", tt.name, got, tt.want)
		}
	}
}

// announcement is what another node would say over l.
func announcement(t testing.TB, id, host string, v validity, addrs ...string) []record {
	t.Helper()
	n, err := newNames("x", id)
	if err != nil {
		t.Fatal(err)
	}
	n.host = dnsmessage.MustNewName(host)
	l := &link{}
	for _, a := range addrs {
		l.addrs = append(l.addrs, netip.MustParseAddr(a))
	}
	m, err := parseMessage(n.records(l, 7, v))
	if err != nil {
		t.Fatal(err)
	}
	return m.records
}

func TestCache(t *testing.T) {
	n, now := fixedNames(t), time.Now()
	eth0, eth1 := &link{index: 1, name: "eth0"}, &link{index: 2, name: "eth1"}
	all := []string{"fe80::1", "2001:db8::1", "192.0.2.1", "169.254.0.1", "127.0.0.1"}
	c := newCache("0AF")
	learn := func(l *link, r []record) string {
		peers, missing := c.learn(n, r, l, now)
		return fmt.Sprint(peers, missing)
	}
	b := func(v validity, addrs ...string) []record { return announcement(t, "0B", "b.local.", v, addrs...) }
	tests := []struct {
		name    string
		link    *link
		records []record
		want    string
	}{
		{"ours", eth0, announcement(t, "0AF", "h.local.", lasting, all...), "[] false"},
		{"only a pointer", eth0, b(lasting)[:1], "[] true"},
		{"no address", eth0, b(lasting), "[] true"},
		{"all, the best first", eth0, b(lasting, all...), "[{0B [127.0.0.1:7 192.0.2.1:7 [2001:db8::1]:7 169.254.0.1:7 [fe80::1%eth0]:7]}] false"},
		{"another one instead", eth0, b(lasting, "192.0.2.9", "fe80::1"), "[{0B [192.0.2.9:7 [fe80::1%eth0]:7]}] false"},
		{
			"on another link too", eth1, b(lasting, "198.51.100.1", "fe80::1"),
			"[{0B [192.0.2.9:7 198.51.100.1:7 [fe80::1%eth0]:7 [fe80::1%eth1]:7]}] false",
		},
		{"an address of somebody else", eth0, announcement(t, "0B", "c.local.", lasting, "192.0.2.3")[2:], "[] false"},
		{"goodbye", eth0, b(farewell, "192.0.2.9"), "[{0B []}] false"},
		{"goodbye again", eth1, b(farewell, "192.0.2.9"), "[] false"},
	}
	for _, tt := range tests {
		now = now.Add(2 * time.Second)
		if got := learn(tt.link, tt.records); got != tt.want {
			t.Errorf("%s: learn() = %s, want %s", tt.name, got, tt.want)
		}
	}
	learn(eth0, b(lasting, "192.0.2.1"))
	learn(eth1, b(lasting, "192.0.2.2"))
	c.unplug(2)
	if p, ok := c.peer("0B", now); len(p.Addrs) != 2 || !ok { // with the fe80::1 of before
		t.Errorf("after unplug: %v, %t", p, ok)
	}
	if got := len(c.fresh(now)); got != 1 {
		t.Errorf("%d known answers, want 1", got)
	}
	later := now.Add(ttlHost * time.Second)
	if got := len(c.missing(n, later)); got != 1 || len(c.missing(n, now)) != 0 {
		t.Errorf("%d questions about what expires, want 1", got)
	}
	c.expire(now.Add(2 * ttlService * time.Second))
	if len(c.known)+len(c.hosts) != 0 {
		t.Errorf("after all has expired: %v, %v", c.known, c.hosts)
	}
}

// Whoever sends what he likes costs bounded memory.
func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	n, l, c := fixedNames(t), &link{index: 1}, newCache("0AF")
	for i := range 3 * maxPeers {
		var addrs []string
		for j := range 20 {
			addrs = append(addrs, fmt.Sprintf("192.0.2.%d", j))
		}
		c.learn(n, announcement(t, fmt.Sprintf("%04X", i), fmt.Sprintf("h%d.local.", i), lasting, addrs...), l, time.Now())
	}
	if len(c.known) != maxPeers || len(c.hosts) != maxPeers || len(c.hosts["h0.local."]) != maxAddrs {
		t.Errorf("%d nodes, %d hosts, %d addresses", len(c.known), len(c.hosts), len(c.hosts["h0.local."]))
	}
	for _, p := range n.query(&c, time.Now()) {
		if len(p) > 1472 {
			t.Errorf("a query of %d bytes", len(p))
		}
	}
}

func FuzzMessage(f *testing.F) {
	n := names{
		service: dnsmessage.MustNewName("_x._tcp.local."), instance: dnsmessage.MustNewName("0AF._x._tcp.local."),
		host: dnsmessage.MustNewName("h.local."),
	}
	l := &link{index: 1, name: "lo", addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}}
	f.Add(n.records(l, 7, lasting))
	f.Add(n.probe(7))
	f.Add(n.enumeration())
	f.Add(bytes.Repeat([]byte{0xc0, 0x0c}, 20))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseMessage(data)
		if err != nil {
			return
		}
		if len(m.questions) > maxRecords || len(m.records) > maxRecords {
			t.Fatalf("%d questions, %d records", len(m.questions), len(m.records))
		}
		n.asks(m)
		if p := n.legacy(l, 7, m); len(p) == 0 {
			t.Fatal("no answer")
		}
		c := newCache("0B")
		peers, _ := c.learn(n, m.records, l, time.Now())
		for _, p := range peers {
			if CheckID(p.ID) != nil || p.ID != strings.ToUpper(p.ID) {
				t.Fatalf("found %q", p.ID)
			}
		}
		for _, q := range n.query(&c, time.Now()) {
			if _, err := parseMessage(q); err != nil {
				t.Fatalf("our own query: %v", err)
			}
		}
	})
}

// Two nodes with one id: who was there first keeps it, the other is told, and gets it when the
// first has left.
func TestNameConflict(t *testing.T) {
	t.Parallel()
	notBoth(t, comeLater)
}

// Of two that come at once with one id one is told, and does not listen.
func TestNameConflictAtOnce(t *testing.T) {
	t.Parallel()
	notBoth(t, comeAtOnce)
}

// notBoth calls come with longer and longer pauses, until not both of two nodes listen: on a machine
// that is busy for longer than a pause a node has looked around before the other one has answered.
func notBoth(t *testing.T, come func(t *testing.T, pause time.Duration) (both bool)) {
	t.Helper()
	for pause := time.Second; come(t, pause); pause *= 2 {
		if pause > patience/4 {
			t.Fatal("both listen")
		}
	}
}

// comeLater starts a node, and then another with the same id, which looks around for some pauses
// first. It reports whether both listen.
func comeLater(t *testing.T, pause time.Duration) (both bool) {
	t.Helper()
	name := testName(t)
	first := listen(t, &Node{Name: name, ID: "0A"})
	defer first.Close()
	second := watchNode(t, &Node{Name: name, ID: "0A", Retry: time.Second, Discovery: &MDNS{pause: pause}})
	defer second.Close()
	if err := second.Listen(0, "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	if err := get(t, "error", second.errors); !errors.Is(err, ErrIDInUse) {
		t.Errorf("OnError got %v", err)
	}
	if second.Address() != nil {
		return true
	}
	first.Close()
	get(t, "listening", second.listening)
	return false
}

// comeAtOnce starts two nodes with one id, which look around for some pauses first. It reports
// whether both listen.
func comeAtOnce(t *testing.T, pause time.Duration) (both bool) {
	t.Helper()
	var nodes []*watched
	for range 2 {
		n := watchNode(t, &Node{Name: testName(t), ID: "0A", Discovery: &MDNS{pause: pause}})
		defer n.Close()
		if err := n.Listen(0, "127.0.0.1"); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
	}
	winner, loser := nodes[0], nodes[1]
	select {
	case <-winner.listening:
	case <-loser.listening:
		winner, loser = loser, winner
	case <-time.After(2 * patience):
		t.Fatal("none listens")
	}
	if err := get(t, "error", loser.errors); !errors.Is(err, ErrIDInUse) {
		t.Errorf("OnError got %v", err)
	}
	if winner.Address() == nil {
		t.Error("none listens")
	}
	return loser.Address() != nil
}

// A program without an mDNS port of its own, such as dig, is answered to itself.
func TestLegacyQuery(t *testing.T) {
	t.Parallel()
	n := listen(t, &Node{Name: testName(t), ID: "0A"})
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
	service := dnsmessage.MustNewName("_" + n.Name + "._tcp.local.")
	q := dnsmessage.Message{Header: dnsmessage.Header{ID: 77}, Questions: []dnsmessage.Question{
		{Name: service, Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET},
	}}
	data, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var a dnsmessage.Message
	buf := make([]byte, 1500)
	eventually(t, "there is an answer", func() bool {
		if _, err := p.WriteTo(data, nil, net.UDPAddrFromAddrPort(group4)); err != nil {
			t.Fatal(err)
		}
		_ = nc.SetReadDeadline(time.Now().Add(time.Second))
		n, _, err := nc.ReadFrom(buf)
		return err == nil && a.Unpack(buf[:n]) == nil
	})
	ptr, ok := a.Answers[0].Body.(*dnsmessage.PTRResource)
	if !ok || a.ID != 77 || len(a.Questions) != 1 || ptr.PTR.String() != "0A."+service.String() || a.Answers[0].Header.TTL != ttlLegacy {
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

// What comes after the goodbye does not bring a node back; its peers do not dial it.
func TestGoodbye(t *testing.T) {
	t.Parallel()
	name := testName(t)
	a, b := listen(t, &Node{Name: name, ID: "0A"}), listen(t, &Node{Name: name, ID: "0B"})
	get(t, "connection", a.conns)
	b.Close()
	wantConns(t, []int{0}, a)
	eventually(t, "the peer is forgotten", func() bool {
		select {
		case <-a.errors: // it may be dialled until the goodbye is heard
		default:
		}
		a.Node.mu.Lock()
		defer a.Node.mu.Unlock()
		return len(a.peers) == 0
	})
	select {
	case err := <-a.errors:
		t.Errorf("OnError got %v", err)
	default:
	}
}

func TestDiscoverNames(t *testing.T) {
	if err := (&MDNS{}).Discover(context.Background(), Self{Name: strings.Repeat("x", 300), ID: "0A"}, Events{}); err == nil {
		t.Error("no error")
	}
}
