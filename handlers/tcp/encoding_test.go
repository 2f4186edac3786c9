package tcp

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/portluck/portluck/handlers/internal/chunktest"
)

var encodings = []struct {
	name     string
	encoding Encoding
	in, want string
}{
	{"bytes", Bytes, "\xff\x00a\xe2", "\xff\x00a\xe2"},
	{"ascii", ASCII, "abc\x00\x7f", "abc\x00\x7f"},
	{"ascii, high bytes", ASCII, "\x80\xe9\xff", "\u0080éÿ"},
	{"utf8", UTF8, "aé€😀z", "aé€😀z"},
	{"utf8, not valid", UTF8, "a\xffb\xe2\x82c\xf0\x9f\x98", "a�b�c�"},
	{"utf8, ends in the middle", UTF8, "a\xe2\x82", "a�"},
	{"utf8, ends in the middle, two bytes", UTF8, "\xe1\x8b", "�"},
	{"utf8, not continued", UTF8, "\xe2\x89A", "�A"},
	{"utf8, begun again", UTF8, "\xe2\xe2\x82\xac\xf0\x9f\xf0\x9f\x98\x80", "�€�😀"},
	{"utf8, replacement", UTF8, "\xef\xbf\xbd\xef\xbf", "��"},
	{"utf8, beyond Unicode", UTF8, "\xf4\x90\x80\x80\xf5\x80\xf8", "�������"},
	{"utf8, surrogates and overlong", UTF8, "\xed\xa0\x80\xc0\x80", "�����"},
	{"base64", Base64, "hello", "aGVsbG8="},
	{"base64, nothing left", Base64, "hello!", "aGVsbG8h"},
	{"nothing", UTF8, "", ""},
}

// The text does not depend on how the stream is split.
func TestEncodings(t *testing.T) {
	for _, tt := range encodings {
		t.Run(tt.name, func(t *testing.T) {
			chunktest.Each(tt.in, func(chunks [][]byte) bool {
				if got := decodeAll(tt.encoding, chunks); got != tt.want {
					t.Errorf("%q = %q, want %q", chunks, got, tt.want)
				}
				return !t.Failed()
			})
		})
	}
}

// decodeAll returns all the text that OnData gets for the chunks.
func decodeAll(e Encoding, chunks [][]byte) string {
	var b strings.Builder
	d := &decoder{encoding: e}
	for _, chunk := range chunks {
		b.Write(d.decode(append([]byte(nil), chunk...)))
	}
	b.Write(d.flush())
	return b.String()
}

func TestEncodingBytes(t *testing.T) {
	for _, tt := range []struct {
		encoding Encoding
		text     string
		want     string
		wantErr  bool
	}{
		{Bytes, "é\xff", "é\xff", false},
		{UTF8, "é", "é", false},
		{ASCII, "aéÿ", "a\xe9\xff", false},
		{ASCII, "€", "\xac", false}, // the low byte
		{Base64, "aGVsbG8=", "hello", false},
		{Base64, "aGVsbG8", "", true},
	} {
		got, err := tt.encoding.bytes(tt.text)
		if string(got) != tt.want || (err != nil) != tt.wantErr {
			t.Errorf("%v.bytes(%q) = %q, %v, want %q", tt.encoding, tt.text, got, err, tt.want)
		}
	}
	s := new(Stream)
	if _, err := s.WriteString("!", Base64); err == nil || !strings.Contains(err.Error(), "base64") {
		t.Errorf("WriteString() = %v", err)
	}
}

// A code point is not split over two events, and an incomplete one comes before OnEnd.
func TestStreamEncoding(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		d := newDiary()
		d.do.OnData = func(s *Stream, p []byte) {
			if !utf8.Valid(p) {
				t.Errorf("data %q", p)
			}
			write(t, s, ".")
		}
		v := &Server{Events: d.events(), OnConnection: func(s *Stream) { s.SetEncoding(UTF8) }}
		nc := plainDial(t, listen(t, v))
		mustWrite(t, nc, "a\xe2\x82")
		mustRead(t, nc, ".")
		mustWrite(t, nc, "\xac\xe2")
		mustRead(t, nc, ".")
		nc.CloseWrite()
		d.wants(t, "connect", "data a", "data €", "data �", "end", "close false")
	})
}

func FuzzOneLine(f *testing.F) {
	file, err := os.ReadFile("testdata/agent.pem")
	if err != nil {
		f.Fatal(err)
	}
	block, _ := pem.Decode(file)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(cert.RawSubject)
	f.Add([]byte{0x30, 0})
	f.Fuzz(func(t *testing.T, der []byte) {
		got := oneLine(der)
		for _, c := range []byte(got) {
			if c < ' ' || c > '~' {
				t.Errorf("oneLine(%x) = %q", der, got)
			}
		}
		if got != "" && !strings.HasPrefix(got, "/") {
			t.Errorf("oneLine(%x) = %q", der, got)
		}
	})
}
