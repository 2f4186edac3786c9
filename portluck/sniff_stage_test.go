package portluck

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/matchers"
)

func TestHeadNeed(t *testing.T) {
	tests := []struct {
		name, head string
		whole      bool
	}{
		{"nothing but a method", "POST / HT", false},
		{"no line end", "GET / HTTP/1.1", false},
		{"a request line", "GET / HTTP/1.1\r\n", false},
		{"a field", "GET / HTTP/1.1\r\nHost: x\r\n", false},
		{"half a field", "GET / HTTP/1.1\r\nHost", false},
		{"a continued field", "GET / HTTP/1.1\r\nA: b\r\n c\r\n", false},
		{"half the end", "GET / HTTP/1.1\r\nHost: x\r\n\r", false},
		{"whole", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", true},
		{"whole, without CR", "GET / HTTP/1.0\n\n", true},
		{"a body follows", "PUT / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhe", true},
		{"HTTP/0.9", "GET /old\r\n", true},
		{"another version", "GET / HTTP/7.5\r\n", false},
		{"half a version", "GET / HTTP/1\r\n", true},
		{"another protocol", "GET / FTP/9\r\n", true},
		{"white space first", " GET / HTTP/1.1\r\n", true},
		{"an empty line", "\r\n", false},
		{"an empty line first", "\r\nGET / HTTP/1.1\r\n", false},
		{"empty lines first", "\n\r\n\nGET / HTTP/1.1\r\n\r\n", true},
		{"CR alone first", "\r\r\nGET / HTTP/1.1\r\n", true},
		{"no colon", "GET / HTTP/1.1\r\nbad header\r\n", true},
		{"no name", "GET / HTTP/1.1\r\n: x\r\n", false}, // net/http reads one more byte
		{"a name with a space", "GET / HTTP/1.1\r\nHost : x\r\n", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := headNeed([]byte(tt.head)); (got == 0) != tt.whole || got != 0 && got <= len(tt.head) {
				t.Errorf("headNeed(%q) = %d, want 0: %t", tt.head, got, tt.whole)
			}
			for i := range len(tt.head) {
				if headNeed([]byte(tt.head[:i])) == 0 && !tt.whole {
					t.Errorf("headNeed(%q) = 0", tt.head[:i])
				}
			}
		})
	}
}

// blocked is a connection whose client sends nothing after the bytes of in.
type blocked struct {
	net.Conn // nil
	in       *bytes.Reader
	out      int
	wanted   bool // a Read would have waited before there was an answer
}

func (b *blocked) Read(p []byte) (int, error) {
	n, err := b.in.Read(p)
	if err != nil {
		b.wanted = b.wanted || b.out == 0
		return 0, errBlocked
	}
	return n, nil
}

func (b *blocked) Write(p []byte) (int, error) {
	b.out += len(p)
	return len(p), nil
}

func (b *blocked) Close() error                     { return nil }
func (b *blocked) SetWriteDeadline(time.Time) error { return nil }

var errBlocked = errors.New("the client has sent no more")

var emptyLines = regexp.MustCompile(`\A(\r?\n)+`)

// The port waits for the rest of a head exactly while net/http would, except that net/http refuses
// some URLs and methods earlier.
func FuzzHeadNeed(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Add([]byte("POST /a HTTP/1.0\nA: b\n c\n\nbody"))
	f.Add([]byte("GET / HTTP/1.1\r\nbad header\r\n\r\n"))
	f.Add([]byte("GET / HTTP/1.1\r\n: x\r\n"))
	f.Add([]byte("\r\n\nGET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &blocked{in: bytes.NewReader(emptyLines.ReplaceAll(b, nil))} // httpd skips them
		r, err := http.ReadRequest(bufio.NewReader(c))
		switch need := headNeed(b); {
		case need == 0 && errors.Is(err, errBlocked):
			t.Errorf("net/http waits for more of %q", b)
		case need > 0 && err == nil:
			t.Errorf("headNeed(%q) = %d, and net/http reads %s %s", b, need, r.Method, r.URL)
		case need > 0 && need <= len(b):
			t.Errorf("headNeed(%q) = %d", b, need)
		}
	})
}

// The port waits for the rest of a ClientHello exactly while crypto/tls would.
func FuzzHelloNeed(f *testing.F) {
	hello := firstFlight(f)
	f.Add(hello)
	f.Add(hello[:100])
	f.Add(inTwoRecords(hello, 50))
	f.Add([]byte("\x16\x03\x01\x00\x01\x01\x15\x03\x01\x00\x02\x01\x5a"))
	f.Add([]byte("\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00"))
	f.Add([]byte("\x16\x03\x09\x40\x00\x01\x00"))
	f.Add([]byte("\x16\x03\x30\x00\x02000000"))           // the second record is none
	f.Add([]byte("\x16\x03\x01\x00\x020\x00\x16\x10000")) // nor is this one, by its version
	config := withTLS()
	f.Fuzz(func(t *testing.T, b []byte) {
		b = append([]byte("\x16\x03"), b[min(2, len(b)):]...)
		c := &blocked{in: bytes.NewReader(b)}
		err := tls.Server(c, config).Handshake()
		need, whole := readHello(b)
		if (need > 0) != c.wanted || need > 0 && (whole || need <= len(b)) {
			t.Errorf("readHello(%x) = %d, %t; crypto/tls waits: %t, %v", b, need, whole, c.wanted, err)
		}
	})
}

func inTwoRecords(hello []byte, cut int) []byte {
	split := append([]byte{0x16, 3, 1, 0, byte(cut)}, hello[5:5+cut]...)
	rest := hello[5+cut:]
	split = append(split, 0x16, 3, 1, byte(len(rest)>>8), byte(len(rest)))
	return append(split, rest...)
}

func TestHelloNeed(t *testing.T) {
	one := firstFlight(t)
	for name, hello := range map[string][]byte{"one record": one, "two": inTwoRecords(one, 50), "one byte and the rest": inTwoRecords(one, 1)} {
		for i := 1; i < len(hello); i++ {
			if got := helloNeed(hello[:i]); got <= i || got > len(hello) {
				t.Fatalf("%s: helloNeed() = %d after %d bytes of %d", name, got, i, len(hello))
			}
		}
		if got, is := readHello(hello); got != 0 || !is {
			t.Errorf("%s: readHello() = %d, %t of the whole", name, got, is)
		}
	}
	for name, b := range map[string][]byte{
		"more follows":      append(bytes.Clone(one), 20, 3, 3),
		"an empty record":   []byte("\x16\x03\x01\x00\x00"),
		"too long a record": []byte("\x16\x03\x01\xff\xff"),
		"16 MiB":            []byte("\x16\x03\x01\x00\x04\x01\xff\xff\xff"),
		"a ServerHello":     []byte("\x16\x03\x01\x00\x04\x02\x00\x00\x00"),
		"application data":  []byte("\x16\x03\x01\x00\x01\x01\x17\x03\x01\x00\x01x"),
	} {
		if got, is := readHello(b); got != 0 || is != (name == "more follows") {
			t.Errorf("%s: readHello() = %d, %t, want 0", name, got, is)
		}
	}
}

// The opening of each built-in protocol fits into the bytes that the port looks at, or the
// connection is handed over before that.
func TestOpeningsAreBounded(t *testing.T) {
	p := portOf(t, &Server{TLSConfig: withTLS()})
	for _, first := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\nCookie: " + strings.Repeat("c", matchers.Window),
		"GET /" + strings.Repeat("u", matchers.Window),
		"GET / HTTP/1.1\r\nUpgrade: websocket\r\nCookie: " + strings.Repeat("c", matchers.Window),
	} {
		c := &conn{port: p, sniffing: &sniffing{}}
		b := []byte(first)
		if r, _, err := p.look(c, b[:matchers.Window-1], false); r != nil || err != nil || c.chosen == nil {
			t.Errorf("%.40q is for %v, %v before the window is full", first, r, err)
		}
		if r, _, err := p.look(c, b[:matchers.Window], false); r == nil || err != nil || c.chosen != nil {
			t.Errorf("%.40q is for nobody (%v) although the window is full", first, err)
		}
	}
}

// firstFlight is the ClientHello of a TLS client, in one record.
func firstFlight(t testing.TB) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer far.Close()
	go tls.Client(near, &tls.Config{InsecureSkipVerify: true}).Handshake() // ends with far
	head := make([]byte, 5)
	if _, err := io.ReadFull(far, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(far, body); err != nil {
		t.Fatal(err)
	}
	return append(head, body...)
}
