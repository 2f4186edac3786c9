package mdns

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/ipv4"
)

// An announcement has a PTR, an SRV with the port, a TXT with one empty string, and the addresses.
func TestAnnouncementBytes(t *testing.T) {
	l := &link{name: "eth0", addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fe80::1")}}
	service, instance, host := "\x02_x\x04_tcp\x05local\x00", "\x030AF\xc0\x0c", "\x01h\xc0\x14"
	tests := []struct {
		name              string
		form              form
		class             string // the class of unique records
		ptr, srv, txt, ip string // the times to live
	}{
		{"announcement", regular, "\x80\x01", "\x00\x00\x11\x94", "\x00\x00\x00\x78", "\x00\x00\x11\x94", "\x00\x00\x00\x78"},
		{"goodbye", goodbye, "\x80\x01", "\x00\x00\x00\x00", "\x00\x00\x00\x00", "\x00\x00\x00\x00", "\x00\x00\x00\x00"},
		{"legacy", legacy, "\x00\x01", "\x00\x00\x00\x0a", "\x00\x00\x00\x0a", "\x00\x00\x00\x0a", "\x00\x00\x00\x0a"},
	}
	for _, tt := range tests {
		want := "\x00\x00\x84\x00\x00\x00\x00\x05\x00\x00\x00\x00" +
			service + "\x00\x0c\x00\x01" + tt.ptr + "\x00\x06" + instance +
			"\xc0\x25\x00\x21" + tt.class + tt.srv + "\x00\x0f" + "\x00\x00\x00\x00\x1f\xa4\x01h\x05local\x00" +
			"\xc0\x25\x00\x10" + tt.class + tt.txt + "\x00\x01\x00" +
			host + "\x00\x01" + tt.class + tt.ip + "\x00\x04\xc0\x00\x02\x01" +
			"\xc0\x53\x00\x1c" + tt.class + tt.ip + "\x00\x10\xfe\x80" + strings.Repeat("\x00", 13) + "\x01"
		if got := fixedNames(t).announcement(l, 8100, tt.form); string(got) != want {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, got, want)
		}
	}
}

// A name that another host has announced is a conflict. After a goodbye it is free again.
func TestConflict(t *testing.T) {
	t.Parallel()
	notBoth(t, probeLater)
}

// notBoth calls probe, which reports whether two hosts get the same name, with longer and longer
// pauses between probes until it returns false, as a busy machine may not answer a probe in time.
func notBoth(t *testing.T, probe func(t *testing.T, pause time.Duration) (both bool)) {
	t.Helper()
	for pause := time.Second; probe(t, pause); pause *= 2 {
		if pause > patience/4 {
			t.Fatal("both have the name")
		}
	}
}

// probeLater starts a host, and then another one with the same name. It reports whether both get
// it.
func probeLater(t *testing.T, pause time.Duration) (both bool) {
	t.Helper()
	typ := service(t)
	first := start(t, Config{Service: typ, Instance: "0A"})
	defer first.stop()
	get(t, "ready", first.ready)
	second := start(t, Config{Service: typ, Instance: "0A", ProbePause: pause})
	defer second.stop()
	select {
	case <-second.ready:
		return true
	case err := <-second.done:
		if !errors.Is(err, ErrConflict) {
			t.Errorf("Run() = %v, want ErrConflict", err)
		}
	case <-time.After(patience):
		t.Fatal("no conflict")
	}
	first.stop()
	if err := get(t, "end", first.done); err != nil {
		t.Errorf("Run() = %v, want nil", err)
	}
	get(t, "ready", start(t, Config{Service: typ, Instance: "0A"}).ready)
	return false
}

// If two hosts probe for one name at once, one of them gets it.
func TestSimultaneousProbes(t *testing.T) {
	t.Parallel()
	notBoth(t, probeAtOnce)
}

// probeAtOnce starts two hosts with one name, and reports whether both get it.
func probeAtOnce(t *testing.T, pause time.Duration) (both bool) {
	t.Helper()
	c := Config{Service: service(t), Instance: "0A", ProbePause: pause}
	a, b := start(t, c), start(t, c)
	defer a.stop()
	defer b.stop()
	winner, loser := a, b
	select {
	case <-a.ready:
	case <-b.ready:
		winner, loser = b, a
	case <-time.After(2 * patience):
		t.Fatal("neither gets the name")
	}
	var err error
	select {
	case err = <-loser.done:
	case err = <-loser.failed: // the loser has got the name too
		both = true
	case <-time.After(patience):
		t.Fatal("the loser hears nothing")
	}
	if !errors.Is(err, ErrConflict) {
		t.Errorf("the loser gets %v, want ErrConflict", err)
	}
	select {
	case err := <-winner.done:
		t.Errorf("the winner ends with %v", err)
	default:
	}
	return both
}

// A goodbye precedes the announcement, so that hosts that have an earlier run of the instance in
// their caches see a new one. Fresh says that there was none.
func TestGoodbyeBeforeAnnouncement(t *testing.T) {
	t.Parallel()
	for _, fresh := range []bool{false, true} {
		typ := service(t)
		heard := eavesdrop(t, typ+".local.")
		start(t, Config{Service: typ, Instance: "0A", Fresh: fresh})
		withdrawn := false
		for get(t, "announcement", heard) == 0 {
			withdrawn = true
		}
		if withdrawn == fresh {
			t.Errorf("Fresh is %t: withdrawn is %t before the announcement", fresh, withdrawn)
		}
	}
}

// The announcement comes at least a second after the last goodbye, even if that was late.
func TestSilenceAfterGoodbye(t *testing.T) {
	for _, late := range []time.Duration{0, 500 * time.Millisecond, 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			r := newResponder(Config{}, Events{}, fixedNames(t))
			r.startAnnouncing()
			if len(r.tasks) != 1 {
				t.Fatalf("%d tasks at the goodbye, want its repetition alone", len(r.tasks))
			}
			time.Sleep(time.Until(r.next()) + late)
			r.due()
			if len(r.tasks) != 1 || time.Until(r.next()) < time.Second || !r.silentUntil.Equal(r.next()) {
				t.Errorf("late by %v: the announcement is due in %v", late, time.Until(r.next()))
			}
		})
	}
}

// eavesdrop returns the TTLs of a service's PTRs in responses on the loopback interface.
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

// Without any network a host gets its name, as there may be a network later.
func TestNoNetwork(t *testing.T) {
	t.Parallel()
	r := start(t, Config{Service: service(t), Instance: "0A", Interfaces: []string{"no-such-interface"}})
	get(t, "ready", r.ready)
}

// Run reports instances that it finds, and those that leave.
func TestRun(t *testing.T) {
	t.Parallel()
	typ := service(t)
	a := start(t, Config{Service: typ, Instance: "0A"})
	b := start(t, Config{Service: typ, Instance: "0B", Fresh: true})
	want := netip.MustParseAddrPort("127.0.0.1:7")
	if i := get(t, "instance", a.found); i.Name != "0B" || len(i.Addrs) != 1 || i.Addrs[0] != want {
		t.Errorf("found %v, want 0B at %v", i, want)
	}
	b.stop()
	for len(get(t, "goodbye", a.found).Addrs) > 0 {
	}
}

// Run returns an error for a name that is not valid in the DNS.
func TestRunNames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 300)
	for _, c := range []Config{{Service: long}, {Service: "_x._tcp", Instance: long}, {Service: "_x._tcp", Instance: "0A", Host: long}} {
		if err := Run(t.Context(), c, Events{}); err == nil {
			t.Errorf("Run(%+v) = nil, want an error", c)
		}
	}
}
