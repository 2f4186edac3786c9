package alldata

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"
)

// posted returns the answer to a put by HTTP.
func posted(t *testing.T, s *Store, key, event string) (status int, text string) {
	t.Helper()
	w := httptest.NewRecorder()
	body := fmt.Sprintf(`{"key":%q,"event":%s}`, key, event)
	(&Handler{OnPut: s.Put}).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/_put", strings.NewReader(body)))
	answer, _ := io.ReadAll(w.Result().Body)
	return w.Code, string(answer)
}

// While the file or its directory is not where it was opened, a put is an error, whether the event
// is new or not. The store accepts puts again once the file is back.
func TestStoreGone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("windows keeps the names of open files")
	}
	rename := func(t *testing.T, from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	copied := func(t *testing.T, from, to string) {
		t.Helper()
		content, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name string
		lose func(t *testing.T, dir, file string)
		back func(t *testing.T, dir, file string) // nil if it cannot come back
	}{
		{"the directory is removed", func(t *testing.T, dir, _ string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}, nil},
		{"the file is removed", func(t *testing.T, _, file string) {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}, nil},
		{"the file is renamed", func(t *testing.T, _, file string) {
			rename(t, file, file+".old")
		}, func(t *testing.T, _, file string) {
			rename(t, file+".old", file)
		}},
		{"the file is replaced by a copy", func(t *testing.T, _, file string) {
			copied(t, file, file+".new")
			rename(t, file, file+".old")
			rename(t, file+".new", file)
		}, func(t *testing.T, _, file string) {
			rename(t, file+".old", file)
		}},
		{"the directory is renamed", func(t *testing.T, dir, _ string) {
			rename(t, dir, dir+".old")
		}, func(t *testing.T, dir, _ string) {
			rename(t, dir+".old", dir)
		}},
		{"the directory is replaced", func(t *testing.T, dir, file string) {
			rename(t, dir, dir+".old")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			copied(t, filepath.Join(dir+".old", fileName), file)
		}, func(t *testing.T, dir, _ string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			rename(t, dir+".old", dir)
		}},
		{"there is a directory in its place", func(t *testing.T, _, file string) {
			rename(t, file, file+".old")
			if err := os.Mkdir(file, 0o700); err != nil {
				t.Fatal(err)
			}
		}, func(t *testing.T, _, file string) {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			rename(t, file+".old", file)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "events")
			s := open(t, &Store{Dir: dir})
			mustPut(t, s, "a", "1")
			tt.lose(t, dir, filepath.Join(dir, fileName))
			for _, key := range []string{"a", "b"} {
				if err := s.Put(t.Context(), key, json.RawMessage("1")); !errors.Is(err, ErrGone) {
					t.Errorf("Put(%s) = %v, want ErrGone", key, err)
				}
				if status, _ := posted(t, s, key, "1"); status != http.StatusInternalServerError {
					t.Errorf("a put of %s is answered with %d", key, status)
				}
			}
			if tt.back == nil {
				return
			}
			tt.back(t, dir, filepath.Join(dir, fileName))
			if status, text := posted(t, s, "b", "1"); status != http.StatusCreated {
				t.Errorf("when it is back: %d %s", status, text)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if got := all(t, open(t, s), "", ""); len(got) != 2 {
				t.Errorf("%q is kept", got)
			}
		})
	}
}

// A put during which the file disappears is an error too.
func TestStoreGoesMeanwhile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("windows keeps the names of open files")
	}
	dir := t.TempDir()
	s := &Store{Dir: dir, update: func(db *bbolt.DB, f func(tx *bbolt.Tx) error) error {
		err := db.Update(f)
		return errors.Join(err, os.Remove(filepath.Join(dir, fileName)))
	}}
	open(t, s)
	if err := s.Put(t.Context(), "a", json.RawMessage("1")); !errors.Is(err, ErrGone) {
		t.Errorf("Put() = %v, want ErrGone", err)
	}
}

// The program may change its working directory.
func TestStoreOfRelativeDir(t *testing.T) {
	t.Chdir(t.TempDir())
	s := open(t, &Store{Dir: "events"})
	t.Chdir(t.TempDir())
	mustPut(t, s, "a", "1")
}

// While the disk is full puts are answered with 507 and a reason; once there is room, with 201.
func TestStoreFull(t *testing.T) {
	file := func(err error) error { return &os.PathError{Op: "write", Path: fileName, Err: err} }
	for _, failure := range []error{
		file(syscall.ENOSPC), file(syscall.EDQUOT), file(syscall.EFBIG),
		fmt.Errorf("file resize error: %s", file(syscall.ENOSPC)),
		fmt.Errorf("file resize error: %s", file(syscall.EFBIG)),
		fmt.Errorf("file sync error: %s", file(syscall.EDQUOT)),
	} {
		fails := false
		s := open(t, &Store{Dir: t.TempDir(), update: func(db *bbolt.DB, f func(tx *bbolt.Tx) error) error {
			if !fails {
				return db.Update(f)
			}
			return db.Update(func(tx *bbolt.Tx) error { return errors.Join(f(tx), failure) })
		}})
		mustPut(t, s, "a", "1")
		fails = true
		for range 3 {
			wantFull(t, s, "b", "2")
		}
		if err := s.Put(t.Context(), "b", json.RawMessage("2")); !errors.Is(err, ErrFull) {
			t.Errorf("Put() = %v, want ErrFull", err)
		}
		if got := all(t, s, "", ""); len(got) != 1 {
			t.Errorf("%q is kept", got)
		}
		fails = false
		if status, text := posted(t, s, "b", "2"); status != http.StatusCreated {
			t.Errorf("when there is room: %d %s", status, text)
		}
	}
}

// A store on a full disk can be opened and read.
func TestOpenFull(t *testing.T) {
	fails := false
	s := open(t, &Store{Dir: t.TempDir(), update: func(db *bbolt.DB, f func(tx *bbolt.Tx) error) error {
		return db.Update(func(tx *bbolt.Tx) error {
			if err := f(tx); !fails {
				return err
			}
			return &os.PathError{Op: "write", Path: fileName, Err: syscall.ENOSPC}
		})
	}})
	mustPut(t, s, "a", "1")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	fails = true
	if err := s.Open(); err != nil {
		t.Fatalf("Open() = %v", err)
	}
	if got, err := s.Get("a"); string(got) != "1" || err != nil {
		t.Errorf("Get() = %s, %v", got, err)
	}
	wantFull(t, s, "b", "2")
	wantFull(t, s, "a", "1") // the event may not be on disk yet
	fails = false
	for _, key := range []string{"b", "a"} {
		if status, text := posted(t, s, key, map[string]string{"a": "1", "b": "2"}[key]); status != http.StatusCreated {
			t.Errorf("when there is room: %d %s", status, text)
		}
	}
}

func wantFull(t *testing.T, s *Store, key, event string) {
	t.Helper()
	status, text := posted(t, s, key, event)
	if status != http.StatusInsufficientStorage || !strings.Contains(text, "no room on the disk") {
		t.Errorf("%d %q, want 507 with a sentence", status, text)
	}
}

// An OnPut need not use ErrFull: the system's errors are recognised. An event with the text of one
// is not.
func TestAnswerFull(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{ErrFull, 507},
		{fmt.Errorf("put: %w", &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}), 507},
		{fmt.Errorf("put: %w", syscall.EDQUOT), 507},
		{fmt.Errorf("put: %w", syscall.EFBIG), 507},
		{fmt.Errorf("put: %w", syscall.EROFS), 500},
		{fmt.Errorf("put: %w", syscall.EIO), 500},
		{fmt.Errorf("key %q", "no space left on device"), 500},
		{fmt.Errorf("put: %w", ErrGone), 500},
	} {
		if status, text := answer(tt.err); status != tt.want || (text == "") != (status == 500) {
			t.Errorf("%v: %d %q, want %d", tt.err, status, text, tt.want)
		}
	}
}
