package devca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// The name that the system gives the machine is in the certificate only if it is valid there.
func TestNames(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, tt := range []struct{ host, want string }{
		{"pi4", "pi4"},
		{"PI4.local", "pi4.local"},
		{"pi4.", "pi4"},
		{"my_box", "my_box"},
		{"1host", "1host"},
		{long + ".x", long + ".x"},
		{"localhost", ""},
		{"", ""},
		{".", ""},
		{"a..b", ""},
		{".a", ""},
		{"-a", ""},
		{"a-", ""},
		{"café", ""},
		{"a b", ""},
		{"a\x00b", ""},
		{"a\xffb", ""},
		{"*", ""},
		{"*.example", ""},
		{"a/b", ""},
		{"192.0.2.1", ""},
		{"10.1", ""},
		{"::1", ""},
		{"fe80::1%eth0", ""},
		{"LOCALHOST.", ""},
		{"XN--CAF-DMA.Example", "xn--caf-dma.example"},
		{"\u212a", ""}, // the Kelvin sign, whose small letter is k
		{"\u0130.example", ""},
		{"a\n", ""},
		{"a,b", ""},
		{"a:80", ""},
		{"u@a", ""},
		{"(none)", ""},
		{"0x7f", ""},
		{"a.0XA", ""},
		{"0xg", "0xg"},
		{"a.1x", "a.1x"},
		{long + "a", ""},
		{strings.Repeat("a.", 127) + "a", ""},
	} {
		t.Run(fmt.Sprintf("%q", tt.host), func(t *testing.T) {
			dns, ips := names(func() (string, error) { return tt.host, nil }, func() ([]net.Addr, error) { return nil, nil })
			want := []string{"localhost"}
			if tt.want != "" {
				want = append(want, tt.want)
			}
			if !slices.Equal(dns, want) || len(ips) != 2 {
				t.Errorf("names() = %q, %v, want %q and two addresses", dns, ips, want)
			}
			if !canBe(t, dns, ips) {
				t.Errorf("%q cannot be in a certificate", dns)
			}
		})
	}
}

// canBe reports whether a certificate can have these names and addresses.
func canBe(t *testing.T, dns []string, ips []net.IP) bool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{DNSNames: dns, IPAddresses: ips}
	template.SerialNumber = key.X
	template.NotAfter = time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return false
	}
	_, err = x509.ParseCertificate(der)
	return err == nil
}

func TestAddresses(t *testing.T) {
	network := func(ip net.IP) net.Addr { return &net.IPNet{IP: ip, Mask: net.CIDRMask(24, 32)} }
	all := []net.Addr{
		nil, (*net.IPNet)(nil), &net.IPAddr{IP: net.IPv4(1, 2, 3, 4)}, network(nil), network(net.IP{1, 2, 3}), network(make(net.IP, 17)),
		network(net.IPv4zero), network(net.IPv6unspecified), network(net.IPv4bcast), network(net.IPv4(224, 0, 0, 1)), network(net.ParseIP("ff02::1")),
		network(net.IPv4(127, 0, 0, 1)), network(net.IPv4(192, 0, 2, 7)), network(net.IPv4(192, 0, 2, 7).To4()), network(net.ParseIP("fe80::1")),
	}
	none := func() (string, error) { return "", errors.New("none") }
	dns, ips := names(none, func() ([]net.Addr, error) { return all, nil })
	if want := "[127.0.0.1 ::1 192.0.2.7 fe80::1]"; fmt.Sprint(ips) != want || !canBe(t, dns, ips) {
		t.Errorf("names() has %v, want %s", ips, want)
	}
	for i := range 1000 {
		all = append(all, network(net.IPv4(10, 0, byte(i>>8), byte(i))))
	}
	if _, ips := names(none, func() ([]net.Addr, error) { return all, nil }); len(ips) != maxAddresses {
		t.Errorf("%d addresses of 1,000, want %d", len(ips), maxAddresses)
	}
	if _, ips := names(none, func() ([]net.Addr, error) { return all, errors.New("broken") }); len(ips) != 2 {
		t.Errorf("%d addresses of a system that cannot tell, want 2", len(ips))
	}
}

// The certificate has the address that a client has connected to, without its zone, if it is an IP
// address.
func TestLocalAddress(t *testing.T) {
	ca, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	tcp := func(ip, zone string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 8100, Zone: zone} }
	for _, tt := range []struct {
		local net.Addr
		want  string // the address that is added; empty if none
	}{
		{tcp("fe80::7:7", "eth0"), "fe80::7:7"},
		{tcp("fe80::7:8", "e\x00\xff"), "fe80::7:8"},
		{tcp("203.0.113.9", ""), "203.0.113.9"},
		{tcp("::ffff:203.0.113.10", ""), "203.0.113.10"},
		{tcp("2001:db8::7", ""), "2001:db8::7"},
		{tcp("::", ""), ""},
		{tcp("::ffff:0.0.0.0", ""), ""},
		{tcp("ff02::1", "eth0"), ""},
		{&net.TCPAddr{IP: net.IP{1, 2, 3}}, ""},
		{&net.TCPAddr{}, ""},
		{(*net.TCPAddr)(nil), ""},
		{&net.UnixAddr{Name: "/a"}, ""},
		{nil, ""},
	} {
		ca.leaf = nil
		usual, err := ca.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ca.GetCertificate(&tls.ClientHelloInfo{Conn: connectedTo{local: tt.local}})
		if err != nil {
			t.Errorf("%#v: %v", tt.local, err)
			continue
		}
		if tt.want == "" && got != usual || tt.want != "" && (got == usual || got.Leaf.VerifyHostname(tt.want) != nil) {
			t.Errorf("%#v: %v, want %q", tt.local, got.Leaf.IPAddresses, tt.want)
		}
	}
}

// connectedTo is a connection that has only a local address.
type connectedTo struct {
	net.Conn
	local net.Addr
}

func (c connectedTo) LocalAddr() net.Addr { return c.local }

// A local address that is not a usable IP address does not make the handshake fail.
func TestStrangeLocalAddress(t *testing.T) {
	for _, ip := range []net.IP{nil, {}, {1, 2, 3}, make(net.IP, 17), net.IPv6unspecified} {
		if got := isAddress(ip); got {
			t.Errorf("isAddress(%v) = true", []byte(ip))
		}
	}
}

func TestCAName(t *testing.T) {
	for host, want := range map[string]string{"": "portluck development CA", "pi4": "portluck development CA of pi4"} {
		if got := caName(host); got != want {
			t.Errorf("caName(%q) = %q, want %q", host, got, want)
		}
	}
	if got := caName(strings.Repeat("a", 253)); len(got) != 64 {
		t.Errorf("caName() has %d characters, want 64", len(got))
	}
}

// If the clock was ahead when the CA or a certificate was made, and is right now, they are not
// valid yet. They are replaced, on disk and in a running server.
func TestNotValidYet(t *testing.T) {
	for _, ahead := range []time.Duration{2 * time.Hour, 30 * 24 * time.Hour, 20 * 365 * 24 * time.Hour} {
		t.Run(ahead.String(), func(t *testing.T) {
			dir := t.TempDir()
			early := &CA{dir: dir, now: func() time.Time { return time.Now().Add(ahead) }}
			if err := early.open(); err != nil {
				t.Fatal(err)
			}
			if _, err := early.GetCertificate(nil); err != nil {
				t.Fatal(err)
			}
			early.now = time.Now // the next handshake sees that the clock is right
			if _, err := early.GetCertificate(nil); err != nil {
				t.Fatal(err)
			}
			if err := shake(t, early, "localhost"); err != nil {
				t.Errorf("a server that runs: %v", err)
			}
			late := &CA{dir: dir, now: func() time.Time { return time.Now().Add(ahead) }}
			if err := late.create(); err != nil {
				t.Fatal(err)
			}
			ca, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := shake(t, ca, "localhost"); err != nil {
				t.Errorf("a server that starts: %v", err)
			}
		})
	}
}
