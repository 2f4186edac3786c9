package portluck

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseProxyMalformed(t *testing.T) {
	for name, head := range map[string]string{
		"another protocol":   "GET / HTTP/1.1\r\n",
		"no family":          "PROXY \r\n",
		"unknown family":     "PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
		"IPv6 as IPv4":       "PROXY TCP4 ::1 ::1 1 2\r\n",
		"port too large":     "PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
		"port with a zero":   "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
		"no CR":              "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
		"two spaces":         "PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
		"too long":           "PROXY " + strings.Repeat("x", 200),
		"version 3":          proxyV2 + "\x31\x11\x00\x0c",
		"unknown command":    proxyV2 + "\x22\x11\x00\x0c",
		"version 1 in 2":     proxyV2 + "\x11\x11\x00\x0c",
		"too short for IPv4": proxyV2 + "\x21\x11\x00\x04abcd",
		"too short for IPv6": proxyV2 + "\x21\x21\x00\x23" + strings.Repeat("x", 35),
		"unknown family 4":   proxyV2 + "\x21\x41\x00\x0c" + strings.Repeat("x", 12),
		"unknown family 15":  proxyV2 + "\x21\xf1\x00\x0c" + strings.Repeat("x", 12),
		"unknown transport":  proxyV2 + "\x21\x13\x00\x0c" + strings.Repeat("x", 12),
		"a zone":             "PROXY TCP6 fe80::1%lo ::1 1 2\r\n",
		"IPv4 as IPv6":       "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
		"a short address":    "PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
		"zeros in front":     "PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n",
		"a sign":             "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
		"no port":            "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
		"one port more":      "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
		"a space at the end": "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
		"another UNKNOWN":    "PROXY UNKNOWNS\r\n",
		"lower case":         "PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n",
	} {
		if h, n, err := parseProxy([]byte(head)); err == nil {
			t.Errorf("%s: %+v, %d bytes", name, h, n)
		}
	}
}

// A valid header gives the client's addresses and its own length. If its addresses are of no use to
// us, those of the socket are used (specification, section 2.2).
func TestParseProxy(t *testing.T) {
	v4 := "\x01\x02\x03\x04\x05\x06\x07\x08\x30\x39\x00\x50"
	v6 := func(src, dst string) string {
		a, b := netip.MustParseAddr(src).As16(), netip.MustParseAddr(dst).As16()
		return string(a[:]) + string(b[:]) + "\x30\x39\x00\x50"
	}
	// a checksum and an unterminated TLV: both are ignored
	tlvs := "\x03\x00\x04\xde\xad\xbe\xef" + "\x04\xff\xff"
	v2 := func(command, family byte, body string) string {
		return proxyV2 + string([]byte{command, family, byte(len(body) >> 8), byte(len(body))}) + body
	}
	for name, tt := range map[string]struct{ head, remote, local string }{
		"TCP4":                        {"PROXY TCP4 1.2.3.4 5.6.7.8 12345 80\r\n", "1.2.3.4:12345", "5.6.7.8:80"},
		"ports at their bounds":       {"PROXY TCP4 1.2.3.4 5.6.7.8 0 65535\r\n", "1.2.3.4:0", "5.6.7.8:65535"},
		"TCP6":                        {"PROXY TCP6 2001:DB8::1 ::1 12345 80\r\n", "[2001:db8::1]:12345", "[::1]:80"},
		"TCP6 from IPv4":              {"PROXY TCP6 ::ffff:1.2.3.4 ::1 12345 80\r\n", "1.2.3.4:12345", "[::1]:80"},
		"UNKNOWN":                     {"PROXY UNKNOWN\r\n", "", ""},
		"UNKNOWN with addresses":      {"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "", ""},
		"the longest":                 {"PROXY UNKNOWN " + strings.Repeat("x", 107-2-14) + "\r\n", "", ""},
		"version 2, IPv4":             {v2(0x21, 0x11, v4), "1.2.3.4:12345", "5.6.7.8:80"},
		"version 2, IPv4, TLVs":       {v2(0x21, 0x11, v4+tlvs), "1.2.3.4:12345", "5.6.7.8:80"},
		"version 2, IPv6":             {v2(0x21, 0x21, v6("2001:db8::1", "::1")), "[2001:db8::1]:12345", "[::1]:80"},
		"version 2, IPv6, TLVs":       {v2(0x21, 0x21, v6("2001:db8::1", "::1")+tlvs), "[2001:db8::1]:12345", "[::1]:80"},
		"version 2, IPv6 from IPv4":   {v2(0x21, 0x21, v6("::ffff:1.2.3.4", "2001:db8::1")), "1.2.3.4:12345", "[2001:db8::1]:80"},
		"version 2, LOCAL":            {v2(0x20, 0, ""), "", ""},
		"version 2, LOCAL with IPv4":  {v2(0x20, 0x11, v4+tlvs), "", ""},
		"version 2, LOCAL, too short": {v2(0x20, 0x11, "x"), "", ""},
		"version 2, LOCAL, no family": {v2(0x20, 0xff, v4), "", ""},
		"version 2, UNSPEC":           {v2(0x21, 0, ""), "", ""},
		"version 2, UNSPEC with TLVs": {v2(0x21, 0, tlvs), "", ""},
		"version 2, UDP":              {v2(0x21, 0x12, v4), "", ""},
		"version 2, UDP over IPv6":    {v2(0x21, 0x22, v6("::1", "::1")), "", ""},
		"version 2, UNIX":             {v2(0x21, 0x31, strings.Repeat("/", 216)), "", ""},
		"version 2, UNIX datagrams":   {v2(0x21, 0x32, strings.Repeat("/", 216)+tlvs), "", ""},
	} {
		h, n, err := parseProxy([]byte(tt.head + "rest"))
		for i, got := range []netip.AddrPort{h.remote, h.local} {
			if want := []string{tt.remote, tt.local}[i]; got.IsValid() != (want != "") || want != "" && got.String() != want {
				t.Errorf("%s: address %d is %v, want %q", name, i, got, want)
			}
		}
		if n != len(tt.head) || err != nil {
			t.Errorf("%s: %d bytes, %v, want %d", name, n, err, len(tt.head))
		}
	}
}

// A header that comes in pieces is read like a whole one.
func FuzzParseProxy(f *testing.F) {
	f.Add([]byte("PROXY TCP4 1.2.3.4 5.6.7.8 12345 80\r\nrest"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte(proxyV2 + "\x21\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x30\x39\x00\x50rest"))
	f.Add([]byte(proxyV2 + "\x20\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		want, n, err := parseProxy(b)
		if n > 16+0xffff || n > 0 && err != nil {
			t.Fatalf("%d bytes of %d, %v", n, len(b), err)
		}
		for i := range min(len(b), 300) {
			h, k, e := parseProxy(b[:i])
			switch {
			case k == 0 && e == nil: // more
			case e != nil && err == nil && n > 0, k > 0 && (k != n || h != want):
				t.Fatalf("%q: %+v, %d, %v after %d bytes, then %+v, %d, %v", b, h, k, e, i, want, n, err)
			}
		}
	})
}
