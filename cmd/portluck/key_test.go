package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// FuzzReadKey checks that a key is the content of its file without line ends at the end, and that
// the error for a refused file does not depend on its content.
func FuzzReadKey(f *testing.F) {
	for _, text := range []string{"", "0123456789abcdef", "0123456789abcdef\r\n\n", "\r\n0123456789abcd", "0123456789abcde\n", "0123456789abcdef \n"} {
		f.Add([]byte(text))
	}
	file := filepath.Join(f.TempDir(), "key")
	read := func(t testing.TB, text []byte) ([]byte, error) {
		t.Helper()
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return readKey("--mesh-key", file)
	}
	_, short := read(f, nil)
	f.Fuzz(func(t *testing.T, text []byte) {
		want := text
		for len(want) > 0 && (want[len(want)-1] == '\n' || want[len(want)-1] == '\r') {
			want = want[:len(want)-1]
		}
		key, err := read(t, text)
		switch {
		case len(want) < 16:
			if key != nil || err == nil || err.Error() != short.Error() {
				t.Errorf("readKey of %q = %q, %v, want %v", text, key, err, short)
			}
		case err != nil || !bytes.Equal(key, want):
			t.Errorf("readKey of %q = %q, %v", text, key, err)
		}
	})
}
