package alldata

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The same on a file system that is full.
func TestStoreOnFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); errors.Is(err, syscall.EPERM) {
		t.Skip("mounting a tmpfs needs root")
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := open(t, &Store{Dir: dir})
	mustPut(t, s, "a", "1")
	filler := filepath.Join(dir, "filler")
	for size := 1 << 20; size > 0; size /= 2 {
		f, err := os.OpenFile(filler, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = f.Write(bytes.Repeat([]byte("x"), size))
		}
		f.Close()
	}
	event := `"` + strings.Repeat("x", 50_000) + `"`
	for range 3 {
		wantFull(t, s, "b", event)
	}
	if got, err := s.Get("a"); string(got) != "1" || err != nil {
		t.Errorf("Get() = %s, %v", got, err)
	}
	if err := s.Put(t.Context(), "b", json.RawMessage(event)); !errors.Is(err, ErrFull) {
		t.Errorf("Put() = %v, want ErrFull", err)
	}
	other := &Store{Dir: filepath.Join(dir, "other")}
	if err := other.Open(); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "make room there") {
		t.Errorf("Open() of a new store = %v, want ErrFull and what to do", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Open(); err != nil {
		t.Fatalf("Open() again = %v", err)
	}
	if got, err := s.Get("a"); string(got) != "1" || err != nil {
		t.Errorf("Get() after Open = %s, %v", got, err)
	}
	wantFull(t, s, "b", event)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if status, text := posted(t, s, "b", event); status != http.StatusCreated {
		t.Errorf("when there is room: %d %s", status, text)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := all(t, open(t, s), "", ""); len(got) != 2 {
		t.Errorf("%d events are kept, want 2", len(got))
	}
}
