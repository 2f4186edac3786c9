package mesh

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Without any network there is none to announce on, but the node listens, and may be on one later.
func TestNoNetwork(t *testing.T) {
	t.Parallel()
	n := watchNode(t, &Node{Name: "x", Discovery: &MDNS{Interfaces: []string{"no-such-interface"}}})
	if err := n.Listen(0, "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	get(t, "listening", n.listening)
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
		{"nothing follows", []step{{a, query}}, moreDelay, true},
		{"it knows", []step{{a, query}, {a, known}}, moreDelay, false},
		{"another one knows", []step{{a, query}, {b, known}}, moreDelay, true},
		{"two ask, one knows", []step{{a, query}, {b, query}, {a, known}}, moreDelay, true},
		{"it asks whole, and knows later", []step{{a, whole}, {a, known}}, answerDelay, true},
	}
	for _, tt := range tests {
		l := &link{}
		r := &responder{names: n, announced: true}
		begun := time.Now()
		for _, s := range tt.steps {
			r.reply(l, packet{from: s.from}, s.m)
		}
		if l.told.due != tt.due || len(r.tasks) != 1 {
			t.Fatalf("%s: due %t with %d tasks, want %t", tt.name, l.told.due, len(r.tasks), tt.due)
		}
		if got := r.tasks[0].at.Sub(begun); got < tt.least {
			t.Errorf("%s: answered after %v, want %v at least", tt.name, got, tt.least)
		}
	}
}
