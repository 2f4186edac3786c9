package alldata

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// smallDisk returns the directory of a file system of 1 MiB.
func smallDisk(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
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
	return dir
}

// fill fills the file system of dir except for but pages. It returns the file that it fills it
// with.
func fill(t *testing.T, dir string, but int) (filler string) {
	t.Helper()
	filler = filepath.Join(dir, "filler")
	f, err := os.OpenFile(filler, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size := int64(0)
	for page := bytes.Repeat([]byte("x"), os.Getpagesize()); err == nil; {
		var n int
		n, err = f.Write(page)
		size += int64(n)
	}
	if err := f.Truncate(size - int64(but*os.Getpagesize())); err != nil || size == 0 {
		t.Fatal(size, err)
	}
	return filler
}

// Wherever in a put the disk becomes full, the answer is 507, or 201 if there is still room. Once
// there is room again it is 201. Stored events stay.
func TestStoreFullAnywhere(t *testing.T) {
	dir := smallDisk(t)
	answers := map[int]int{}
	for pages := range 40 {
		s := open(t, &Store{Dir: filepath.Join(dir, fmt.Sprint(pages))})
		mustPut(t, s, "a", "1")
		filler := fill(t, dir, pages)
		event := `"` + strings.Repeat("x", 50_000) + `"`
		for _, key := range []string{"b", "c"} {
			status, text := posted(t, s, key, event)
			if answers[status]++; status != http.StatusCreated {
				wantFull(t, s, key, event)
			}
			if status != http.StatusCreated && (status != http.StatusInsufficientStorage || !strings.Contains(text, "no room on the disk")) {
				t.Errorf("%d free pages: %d %q", pages, status, text)
			}
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"b", "c"} {
			if status, text := posted(t, s, key, event); status != http.StatusCreated {
				t.Errorf("when there is room, after %d pages: %d %s", pages, status, text)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if got := all(t, open(t, s), "", ""); len(got) != 3 {
			t.Errorf("%d events are kept, want 3", len(got))
		}
		if err := errors.Join(s.Close(), os.RemoveAll(s.Dir)); err != nil {
			t.Fatal(err)
		}
	}
	if answers[http.StatusCreated] < 10 || answers[http.StatusInsufficientStorage] < 10 {
		t.Errorf("the answers are %v", answers)
	}
}

// Wherever the disk becomes full while Open makes a store, Open returns an ErrFull and leaves
// nothing behind. It makes the store once there is room.
func TestOpenFullAnywhere(t *testing.T) {
	dir := smallDisk(t)
	full := 0
	for pages := range 20 {
		filler := fill(t, dir, pages)
		s := &Store{Dir: filepath.Join(dir, fmt.Sprint("store", pages))}
		if err := s.Open(); err != nil {
			full++
			if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "make room there") {
				t.Errorf("%d free pages: Open() = %v, want ErrFull and what to do", pages, err)
			}
			if left, _ := filepath.Glob(filepath.Join(s.Dir, newNames)); len(left) > 0 {
				t.Errorf("%d free pages: %q are left", pages, left)
			}
		} else if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		mustPut(t, open(t, s), "a", "1")
		if err := errors.Join(s.Close(), os.RemoveAll(s.Dir)); err != nil {
			t.Fatal(err)
		}
	}
	if full < 5 || full == 20 {
		t.Errorf("Open has failed %d times", full)
	}
}

// A store on a full disk can be opened, and goes on once there is room.
func TestStoreOnFullDisk(t *testing.T) {
	dir := smallDisk(t)
	s := open(t, &Store{Dir: dir})
	mustPut(t, s, "a", "1")
	filler := fill(t, dir, 0)
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
