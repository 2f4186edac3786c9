package mdns

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func TestCache(t *testing.T) {
	n, now := fixedNames(t), time.Now()
	eth0, eth1 := &link{index: 1, name: "eth0"}, &link{index: 2, name: "eth1"}
	all := []string{"fe80::1", "2001:db8::1", "192.0.2.1", "169.254.0.1", "127.0.0.1"}
	c := newCache("0AF")
	learn := func(l *link, r []record) string {
		found, missing := c.learn(n, r, l, now)
		return fmt.Sprint(found, missing)
	}
	b := func(f form, addrs ...string) []record { return announcementOf(t, "0B", "b.local.", f, addrs...) }
	tests := []struct {
		name    string
		link    *link
		records []record
		want    string
	}{
		{"ours", eth0, announcementOf(t, "0AF", "h.local.", regular, all...), "[] false"},
		{"only a pointer", eth0, b(regular)[:1], "[] true"},
		{"no address", eth0, b(regular), "[] true"},
		{"all, the best first", eth0, b(regular, all...), "[{0B [127.0.0.1:7 192.0.2.1:7 [2001:db8::1]:7 169.254.0.1:7 [fe80::1%eth0]:7]}] false"},
		{"another one instead", eth0, b(regular, "192.0.2.9", "fe80::1"), "[{0B [192.0.2.9:7 [fe80::1%eth0]:7]}] false"},
		{
			"on another link too", eth1, b(regular, "198.51.100.1", "fe80::1"),
			"[{0B [192.0.2.9:7 198.51.100.1:7 [fe80::1%eth0]:7 [fe80::1%eth1]:7]}] false",
		},
		{"an address of somebody else", eth0, announcementOf(t, "0B", "c.local.", regular, "192.0.2.3")[2:], "[] false"},
		{"goodbye", eth0, b(goodbye, "192.0.2.9"), "[{0B []}] false"},
		{"goodbye again", eth1, b(goodbye, "192.0.2.9"), "[] false"},
	}
	for _, tt := range tests {
		now = now.Add(2 * time.Second)
		if got := learn(tt.link, tt.records); got != tt.want {
			t.Errorf("%s: learn() = %s, want %s", tt.name, got, tt.want)
		}
	}
	learn(eth0, b(regular, "192.0.2.1"))
	learn(eth1, b(regular, "192.0.2.2"))
	c.unplug(2)
	if i, ok := c.instance("0B", now); len(i.Addrs) != 2 || !ok { // with the earlier fe80::1
		t.Errorf("after unplug: %v, %t", i, ok)
	}
	if got := len(c.knownAnswers(now)); got != 1 {
		t.Errorf("%d known answers, want 1", got)
	}
	later := now.Add(ttlHost * time.Second)
	if got := len(c.missing(n, later)); got != 1 || len(c.missing(n, now)) != 0 {
		t.Errorf("%d questions about what expires, want 1", got)
	}
	c.expire(now.Add(2 * ttlService * time.Second))
	if len(c.instances)+len(c.hosts) != 0 {
		t.Errorf("after all has expired: %v, %v", c.instances, c.hosts)
	}
}

// The cache is bounded, whatever other hosts announce.
func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	n, l, c := fixedNames(t), &link{index: 1}, newCache("0AF")
	for i := range 3 * maxInstances {
		var addrs []string
		for j := range 20 {
			addrs = append(addrs, fmt.Sprintf("192.0.2.%d", j))
		}
		c.learn(n, announcementOf(t, fmt.Sprintf("%04X", i), fmt.Sprintf("h%d.local.", i), regular, addrs...), l, time.Now())
	}
	if len(c.instances) != maxInstances || len(c.hosts) != maxInstances || len(c.hosts["h0.local."]) != maxAddrs {
		t.Errorf("%d instances, %d hosts, %d addresses", len(c.instances), len(c.hosts), len(c.hosts["h0.local."]))
	}
	known := 0
	all := n.query(&c, time.Now())
	for i, p := range all {
		m, err := parseMessage(p)
		if err != nil || len(p) > maxMessage || m.truncated != (i < len(all)-1) || (len(m.questions) == 1) != (i == 0) {
			t.Errorf("message %d of %d: %d bytes, %d questions, truncated %t, %v", i, len(all), len(p), len(m.questions), m.truncated, err)
		}
		known += len(m.records)
	}
	if known != maxInstances {
		t.Errorf("%d known answers, want %d", known, maxInstances)
	}
}

// A record with the cache-flush bit replaces those of its link and family that are older than a
// second (RFC 6762, section 10.2).
func TestCacheFlush(t *testing.T) {
	n, now := fixedNames(t), time.Now()
	l := &link{index: 1, name: "eth0"}
	c := newCache("0AF")
	tests := []struct {
		name  string
		after time.Duration // after the previous record
		addrs []string
		want  string
	}{
		{"first", 0, []string{"192.0.2.1"}, "[192.0.2.1:7]"},
		{"the rest of it, in another packet", 900 * time.Millisecond, []string{"192.0.2.2"}, "[192.0.2.1:7 192.0.2.2:7]"},
		{"the first is older than a second", 200 * time.Millisecond, []string{"192.0.2.3"}, "[192.0.2.2:7 192.0.2.3:7]"},
		{"the other family", time.Minute, []string{"2001:db8::1"}, "[192.0.2.2:7 192.0.2.3:7 [2001:db8::1]:7]"},
		{"again", time.Minute, []string{"192.0.2.3", "192.0.2.4"}, "[192.0.2.3:7 192.0.2.4:7 [2001:db8::1]:7]"},
	}
	for _, tt := range tests {
		now = now.Add(tt.after)
		found, _ := c.learn(n, announcementOf(t, "0B", "b.local.", regular, tt.addrs...), l, now)
		if len(found) != 1 || fmt.Sprint(found[0].Addrs) != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, found, tt.want)
		}
	}
	// An address in a goodbye is removed at once. Other addresses of the last second stay.
	gone := announcementOf(t, "0B", "b.local.", goodbye, "192.0.2.4")
	if found, _ := c.learn(n, gone[2:], l, now); len(found) != 1 || fmt.Sprint(found[0].Addrs) != "[192.0.2.3:7 [2001:db8::1]:7]" {
		t.Errorf("goodbye of an address: %v", found)
	}
}

// An SRV in a goodbye stays valid for another second (RFC 6762, section 10.1).
func TestGoodbyeOfService(t *testing.T) {
	n, now := fixedNames(t), time.Now()
	l := &link{index: 1, name: "eth0"}
	c := newCache("0AF")
	here := announcementOf(t, "0B", "b.local.", regular, "192.0.2.1")
	c.learn(n, here, l, now)
	gone := announcementOf(t, "0B", "b.local.", goodbye)[1:2] // its SRV
	c.learn(n, gone, l, now)
	if _, ok := c.instance("0B", now.Add(900*time.Millisecond)); !ok {
		t.Error("it is gone within a second")
	}
	later := now.Add(1100 * time.Millisecond)
	if i, ok := c.instance("0B", later); ok {
		t.Errorf("after a second: %v", i)
	}
	if got := c.missing(n, later); len(got) != 1 || got[0].Type != dnsmessage.TypeSRV {
		t.Errorf("after a second it asks %v, want for the SRV", got)
	}
	c.learn(n, here, l, later)
	if _, ok := c.instance("0B", later); !ok {
		t.Error("it is not back after an announcement")
	}
}
