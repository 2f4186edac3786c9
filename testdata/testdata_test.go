package testdata

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/portluck/portluck/testdata/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestAll(t *testing.T) {
	all := All()
	if len(all) < 60 {
		t.Errorf("%d transcripts, want at least 60", len(all))
	}
	if !slices.IsSortedFunc(all, func(a, b Transcript) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("not sorted by name")
	}
	seen := map[string]bool{}
	for _, tr := range all {
		seen[tr.Class] = true
		if len(tr.Bytes) > 64<<10 {
			t.Errorf("%s has %d bytes", tr.Name, len(tr.Bytes))
		}
		if got := Get(tr.Name); got.Name != tr.Name {
			t.Errorf("Get(%s) = %s", tr.Name, got.Name)
		}
	}
	for _, class := range Classes() {
		if !seen[class] {
			t.Errorf("no transcript of class %s", class)
		}
	}
}

// In the SSL 2.0 hello the length of the record, of 15 bits, and the lengths of its parts are
// right.
func TestSSLv2HelloIsWhole(t *testing.T) {
	b := Get("sslv2-hello").Bytes
	number := func(i int) int { return int(b[i])<<8 | int(b[i+1]) }
	if got, want := len(b)-2, number(0)&0x7fff; got != want {
		t.Errorf("%d bytes, want %d", got, want)
	}
	if got, want := 2+9+number(5)+number(7)+number(9), len(b); got != want {
		t.Errorf("parts of %d bytes, want %d", got, want)
	}
}

func TestGetUnknown(t *testing.T) {
	defer func() {
		if got, want := recover(), "testdata: no transcript nobody"; got != want {
			t.Errorf("Get(nobody) panics with %v, want %v", got, want)
		}
	}()
	Get("nobody")
}

func TestRoundTrip(t *testing.T) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for _, tc := range []struct {
		name  string
		bytes []byte
	}{
		{"one byte", []byte{0}},
		{"half a row", []byte("|a| |b|")},
		{"a row", []byte("0123456789abcdef")},
		{"a row and a byte", []byte("0123456789abcdef\n")},
		{"every byte", every},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := Transcript{From: "printf 'a: b'", Client: "x: 1", Class: Raw, Date: "2026-11-21", Bytes: tc.bytes}
			got, err := Parse(Format(want))
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("Parse(Format()) = %+v, %v, want %+v", got, err, want)
			}
		})
	}
}

func TestParseMalformed(t *testing.T) {
	const head = "from: x\nclient: y\nclass: raw\ndate: 2026-11-21\n\n"
	const row = "00000000  61 62                                             |ab|\n"
	if got, err := Parse([]byte(head + row)); err != nil || string(got.Bytes) != "ab" {
		t.Fatalf("Parse() = %q, %v", got.Bytes, err)
	}
	for _, tc := range []struct{ name, file, want string }{
		{"empty", "", "no empty line"},
		{"no bytes", head, "no bytes"},
		{"unknown key", "what: x\n" + head + row, `unknown key "what"`},
		{"no colon", "from x\n" + head + row, `unknown key "from x"`},
		{"key twice", "from: z\n" + head + row, "from is given twice"},
		{"key empty", strings.Replace(head, "from: x", "from: ", 1) + row, "from is empty"},
		{"no client", strings.Replace(head, "client: y\n", "", 1) + row, "client is missing"},
		{"unknown class", strings.Replace(head, "raw", "tcp", 1) + row, `unknown class "tcp"`},
		{"no date", strings.Replace(head, "2026-11-21", "today", 1) + row, "date: "},
		{"wrong offset", head + "00000010" + row[8:], "does not continue at 00000000"},
		{"one row twice", head + row + row, "does not continue at 00000002"},
		{"no text", head + "00000000  61 62\n", "has no text"},
		{"not hex", head + strings.Replace(row, "61", "6g", 1), "invalid byte"},
		{"bytes edited", head + strings.Replace(row, "61", "63", 1), "not as Format writes it"},
		{"keys out of order", "client: y\nfrom: x\nclass: raw\ndate: 2026-11-21\n\n" + row, "not as Format writes it"},
		{"no last line end", head + strings.TrimSuffix(row, "\n"), "not as Format writes it"},
		{"junk behind", head + row + "\n", "does not continue"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := Parse([]byte(tc.file)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Parse() = %v, want %q in it", err, tc.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Format(All()[0]))
	f.Fuzz(func(t *testing.T, b []byte) {
		tr, err := Parse(b)
		if err != nil {
			return
		}
		if again := Format(tr); !bytes.Equal(again, b) {
			t.Errorf("Format(Parse()) = %q, want %q", again, b)
		}
	})
}
