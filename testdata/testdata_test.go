package testdata

import (
	"bytes"
	"slices"
	"testing"

	"github.com/portluck/portluck/testdata/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestAll(t *testing.T) {
	all := All()
	if len(all) < 40 {
		t.Errorf("%d transcripts, want at least 40", len(all))
	}
	classes := []string{HTTP1, HTTP2, WebSocket, TLS, SSH, Proxy, Raw}
	for _, tr := range all {
		if !slices.Contains(classes, tr.Class) || tr.From == "" || tr.Client == "" || tr.Date == "" {
			t.Errorf("%s: %+v", tr.Name, tr)
		}
		if got, err := Parse(Format(tr)); err != nil || !bytes.Equal(got.Bytes, tr.Bytes) {
			t.Errorf("%s: parsed again: %v", tr.Name, err)
		}
		if got := Get(tr.Name); got.Name != tr.Name {
			t.Errorf("Get(%s) = %s", tr.Name, got.Name)
		}
	}
}

func TestParseMalformed(t *testing.T) {
	const head = "from: x\nclient: y\nclass: raw\ndate: 2026-11-21\n\n"
	const row = "00000000  61 62                                             |ab|\n"
	if got, err := Parse([]byte(head + row)); err != nil || string(got.Bytes) != "ab" {
		t.Fatalf("Parse() = %q, %v", got.Bytes, err)
	}
	for name, file := range map[string]string{
		"empty":         "",
		"no bytes":      head,
		"unknown key":   "what: x\n" + head + row,
		"no class":      "from: x\n\n" + row,
		"wrong offset":  head + "00000010" + row[8:],
		"no text":       head + "00000000  61 62\n",
		"not hex":       head + "00000000  6g 62  |ab|\n",
		"one row twice": head + row + row,
	} {
		if _, err := Parse([]byte(file)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Format(All()[0]))
	f.Fuzz(func(t *testing.T, b []byte) {
		tr, err := Parse(b)
		if err != nil {
			return
		}
		if again, err := Parse(Format(tr)); err != nil || !bytes.Equal(again.Bytes, tr.Bytes) {
			t.Errorf("parsed again: %q, %v, want %q", again.Bytes, err, tr.Bytes)
		}
	})
}
