package matchers_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/portluck/portluck/matchers"
)

// record returns a TLS record of type 22 with this version.
func record(minor byte, fragment string) string {
	return "\x16\x03" + string([]byte{minor, byte(len(fragment) >> 8), byte(len(fragment))}) + fragment
}

// vec returns a vector whose length has size bytes.
func vec(size int, content string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(len(content))))[2-size:] + content
}

// helloMessage returns a ClientHello without a record. version is the legacy version; rest follows
// the compression methods.
func helloMessage(version uint16, rest string) string {
	body := string(binary.BigEndian.AppendUint16(nil, version)) + strings.Repeat("r", 32) + "\x00" + "\x00\x02\x13\x01" + "\x01\x00" + rest
	return "\x01\x00" + vec(2, body)
}

// extension returns an extension of a ClientHello.
func extension(id byte, content string) string { return "\x00" + string(id) + vec(2, content) }

func sni(kind byte, name string) string { return string(kind) + vec(2, name) }

// The lengths and versions in the first 11 bytes, at their bounds.
func TestTLSBounds(t *testing.T) {
	verdicts(t, matchers.TLS(), map[string]string{
		"\x16\x03\x00":         "more",
		"\x16\x03\x04":         "more",
		"\x16\x03\x05":         "no",
		"\x16\x03\x01\x00\x00": "no",
		"\x16\x03\x01\x00\x01": "more",
		"\x16\x03\x01\x40\x00": "more", // the longest record
		"\x16\x03\x01\x40\x01": "no",
		"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x03": "yes", // the shortest ClientHello
		"\x16\x03\x01\x00\x2c\x01\x00\x00\x28":         "no",
		"\x16\x03\x01\x00\x2d\x01\x00\x00\x2a\x03\x03": "yes", // one more byte, in the next record
		"\x16\x03\x01\x00\x2e\x01\x00\x00\x29":         "no",  // the record is longer than a ClientHello
		"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x04": "yes",
		"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x05": "no",
		"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x02":     "no",
		"\x16\x03\x01\x00\x2d\x01\x01":                 "no",
		"\x16\x03\x01\x00\x2d\x02":                     "no",
	})
}

// A matcher that needs the whole ClientHello asks for bytes up to the end of the record or of the
// next record's head, so that it is not asked too often.
func TestHelloNeeds(t *testing.T) {
	message := helloMessage(0x0303, vec(2, extension(0, vec(2, sni(0, "a.b")))))
	for name, size := range map[string]int{"whole": len(message), "split": 20, "last byte apart": len(message) - 1} {
		t.Run(name, func(t *testing.T) {
			whole := split(record(1, message), size)
			for n := range len(whole) {
				want := n + 1
				if n >= 11 {
					for want = 0; want <= n; { // to the next end of a head or of a record
						head := want + 5
						if want = head; n >= head {
							want += int(binary.BigEndian.Uint16([]byte(whole[head-2 : head])))
						}
					}
				}
				if got := match(matchers.SNI("a.b"), whole[:n]).Needed(); got != want {
					t.Errorf("after %d bytes: %d needed, want %d", n, got, want)
				}
			}
			verdicts(t, matchers.SNI("a.b"), map[string]string{whole: "yes", whole + "more": "yes"})
		})
	}
}

// A ClientHello in several records is not one if a record is not a part of it, or if it is longer
// than Window.
func TestHelloSplit(t *testing.T) {
	message := helloMessage(0x0303, vec(2, extension(0, vec(2, sni(0, "a.b")))+extension(21, strings.Repeat("\x00", 15900))))
	long := split(record(1, message), 40)
	if len(message) > matchers.Window || len(long) < matchers.Window {
		t.Fatalf("%d bytes, %d in records", len(message), len(long))
	}
	first := record(1, message[:20])
	size := func(n int) string { return record(1, "\x01\x00"+string([]byte{byte(n >> 8), byte(n)})+"\x03\x03") }
	verdicts(t, matchers.SNI("a.b"), map[string]string{
		long[:matchers.Window-1]:            "more",
		long[:matchers.Window]:              "no", // more than a matcher may see
		first + "\x17":                      "more",
		first + "\x17\x03\x01\x00\x01":      "no",
		first + "\x16\x03\x01\x00\x00":      "no", // an empty record
		first + "\x16\x03\x01\x40\x00":      "more",
		first + "\x16\x03\x01\x40\x01":      "no",
		size(matchers.Window - 4):           "more",
		size(matchers.Window - 3):           "no",
		split(record(1, message[:4000]), 1): "no", // its first record has no version
	})
	if got := match(matchers.SNI("a.b"), long[:matchers.Window-1]).Needed(); got != matchers.Window {
		t.Errorf("%d bytes needed, want %d", got, matchers.Window)
	}
	if got := matchers.SNI("a.b").Match(matchers.Hello{Bytes: []byte(first), EOF: true}); got != matchers.No {
		t.Errorf("at the end: %d", got)
	}
}

// The extensions of a ClientHello, and some that are not well formed.
func TestHelloExtensions(t *testing.T) {
	name := matchers.SNI("a.b", "*.com")
	h2 := matchers.ALPN("h2")
	v12 := matchers.TLSVersion(0x0303)
	list := func(extensions ...string) string { return vec(2, strings.Join(extensions, "")) }
	good := extension(0, vec(2, sni(0, "a.b")))
	tests := []struct {
		name, rest string
		m          matchers.Matcher
		want       matchers.Verdict
	}{
		{"no extensions", "", v12, matchers.Yes},
		{"an empty list", list(), v12, matchers.Yes},
		{"half a length", "\x00", v12, matchers.No},
		{"more extensions than there are", "\x00\x05" + good[:4], v12, matchers.No},
		{"less extensions than there are", list(good) + "x", v12, matchers.Yes},
		{"half an extension", list(good[:3]), v12, matchers.No},
		{"an extension that is too long", list("\x00\x15\x00\x05x"), v12, matchers.No},
		{"a name", list(good), name, matchers.Yes},
		{"after another extension", list(extension(23, ""), good), name, matchers.Yes},
		{"no name", list(extension(23, "")), name, matchers.No},
		{"an empty name", list(extension(0, vec(2, sni(0, "")))), name, matchers.No},
		{"another name as long", list(extension(0, vec(2, sni(0, "a.c")))), name, matchers.No},
		{"a longer name", list(extension(0, vec(2, sni(0, "a.b.")))), name, matchers.No},
		{"the end of a name", list(extension(0, vec(2, sni(0, "com")))), name, matchers.No},
		{"an empty label", list(extension(0, vec(2, sni(0, ".com")))), name, matchers.No},
		{"one label", list(extension(0, vec(2, sni(0, "x.com")))), name, matchers.Yes},
		{"two labels", list(extension(0, vec(2, sni(0, "x.y.com")))), name, matchers.No},
		{"a name of another kind", list(extension(0, vec(2, sni(1, "a.b")))), name, matchers.No},
		{"names of two kinds", list(extension(0, vec(2, sni(1, "x")+sni(0, "a.b")))), name, matchers.Yes},
		{"half a name", list(extension(0, vec(2, "\x00\x00\x05a.b"))), name, matchers.No},
		{"a protocol", list(extension(16, vec(2, vec(1, "x")+vec(1, "h2")))), h2, matchers.Yes},
		{"no protocol", list(extension(16, vec(2, ""))), h2, matchers.No},
		{"half a protocol", list(extension(16, vec(2, "\x01x\x03h2"))), h2, matchers.No},
		{"no list of protocols", list(extension(16, "\x00")), h2, matchers.No},
		{"versions", list(extension(43, vec(1, "\x03\x04\x03\x03"))), v12, matchers.Yes},
		{"other versions", list(extension(43, vec(1, "\x03\x04\x03\x02"))), v12, matchers.No},
		{"half a version", list(extension(43, vec(1, "\x03\x04\x03"))), v12, matchers.No},
		{"no versions", list(extension(43, vec(1, ""))), v12, matchers.No},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := match(tt.m, record(1, helloMessage(0x0303, tt.rest))); got != tt.want {
				t.Errorf("%d, want %d", got, tt.want)
			}
		})
	}
	short := record(1, helloMessage(0x0303, ""))
	short = short[:44] + "\x09" + short[45:] // a session id that takes all bytes that follow
	if got := match(v12, short); got != matchers.No {
		t.Errorf("a session id that is too long: %d, want No", got)
	}
}

// Without supported_versions the legacy version is the highest, and never TLS 1.3.
func TestLegacyVersion(t *testing.T) {
	for _, tt := range []struct {
		legacy, asked uint16
		want          matchers.Verdict
	}{
		{0x0303, 0x0303, matchers.Yes},
		{0x0303, 0x0302, matchers.Yes},
		{0x0302, 0x0303, matchers.No},
		{0x0302, 0x0302, matchers.Yes},
		{0x0303, 0x0304, matchers.No},
		{0x0304, 0x0304, matchers.No},
		{0x0304, 0x0303, matchers.Yes},
	} {
		if got := match(matchers.TLSVersion(tt.asked), record(1, helloMessage(tt.legacy, ""))); got != tt.want {
			t.Errorf("%#x of a client of %#x: %d, want %d", tt.asked, tt.legacy, got, tt.want)
		}
	}
}
