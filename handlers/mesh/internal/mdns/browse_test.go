package mdns

import (
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// The pauses between the first queries double (RFC 6762, section 5.2).
func TestQueryPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResponder(Config{}, Events{}, fixedNames(t))
		r.query()
		for i := range 100 {
			pause := time.Until(r.next())
			if want := time.Second << i; i < 5 && pause != want || i >= 5 && (pause < 30*time.Second || pause > time.Minute) {
				t.Errorf("pause %d is %v", i, pause)
			}
			time.Sleep(pause)
			r.due()
		}
	})
}

// Names are compared without regard to the case of ASCII letters.
func TestSame(t *testing.T) {
	tests := []struct {
		a, b string
		want bool
	}{
		{"_s._tcp.local.", "_S._TCP.Local.", true},
		{"_s._tcp.local.", "_\u017f._tcp.local.", false}, // a long s, which Unicode folds to s
		{"k.local.", "\u212a.local.", false},             // the Kelvin sign
		{"\u00e9.local.", "\u00c9.local.", false},
		{"\xff.local.", "\xfe.local.", false},
		{"@[`{.local.", "`{@[.local.", false},
	}
	for _, tt := range tests {
		a, b := dnsmessage.MustNewName(tt.a), dnsmessage.MustNewName(tt.b)
		if got := same(a, b); got != tt.want {
			t.Errorf("same(%q, %q) = %t, want %t", tt.a, tt.b, got, tt.want)
		}
	}
	all := strings.Repeat("az@[AZ", 3)
	if got := upper(all); got != strings.ToUpper(all) {
		t.Errorf("upper(%q) = %q", all, got)
	}
}

// A packet to an address of this machine, or of another interface, is dropped.
func TestDeliver(t *testing.T) {
	r, l := newResponder(Config{}, Events{}, fixedNames(t)), &link{index: 3}
	from := &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: mdnsPort}
	for _, tt := range []struct {
		name  string
		index int
		to    net.IP
		want  int
	}{
		{"the group", 3, group4.Addr().AsSlice(), 1},
		{"the group of IPv6", 3, group6.Addr().AsSlice(), 1},
		{"not known", 0, nil, 1},
		{"another interface", 4, group4.Addr().AsSlice(), 0},
		{"an address", 3, net.IPv4(192, 0, 2, 2), 0},
	} {
		if !r.deliver(l, received{data: []byte("x"), index: tt.index, from: from, to: tt.to}) {
			t.Errorf("%s: the link is closed", tt.name)
		}
		if got := len(r.packets); got != tt.want {
			t.Errorf("%s: %d packets are delivered, want %d", tt.name, got, tt.want)
		}
		for len(r.packets) > 0 {
			<-r.packets
		}
	}
}
