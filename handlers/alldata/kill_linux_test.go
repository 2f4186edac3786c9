package alldata

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/portluck/portluck/testdata/need"
)

// childFull puts until the file may not grow, as on a full disk. What was answered stays, other
// puts are errors, and the store goes on when there is room again.
func childFull(s *Store) {
	told := 0
	s.OnStored = func(string, json.RawMessage) { told++ }
	childFails(s.Open())
	signal.Ignore(syscall.SIGXFSZ)
	var limit syscall.Rlimit
	childFails(syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit))
	childFails(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 300 << 10, Max: limit.Max}))
	ctx := context.Background()
	event := func(i int) json.RawMessage { return fmt.Appendf(nil, `{"%d":"%s"}`, i, strings.Repeat("x", 3000)) }
	full := 0
	for err := error(nil); err == nil; full++ {
		if err = s.Put(ctx, fmt.Sprintf("%06d", full), event(full)); err != nil {
			break
		}
	}
	for range 3 { // it stays full
		if err := s.Put(ctx, fmt.Sprintf("%06d", full), event(full)); !errors.Is(err, ErrFull) {
			childFails(fmt.Errorf("Put() into a full file: %v", err))
		}
	}
	childFails(s.Put(ctx, "000000", event(0))) // the event is there already
	childFails(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
	for i := full; i < full+300; i++ {
		childFails(s.Put(ctx, fmt.Sprintf("%06d", i), event(i)))
	}
	if n, err := s.Len(); n != full+300 || err != nil {
		childFails(fmt.Errorf("Len() = %d, %v, want %d", n, err, full+300))
	}
	n := 0
	for e, err := range s.Range("", "") {
		childFails(err)
		if e.Key != fmt.Sprintf("%06d", n) || string(e.Event) != string(event(n)) {
			childFails(fmt.Errorf("entry %d is %q: %.50s", n, e.Key, e.Event))
		}
		n++
	}
	childFails(s.Close())
	if told != n {
		childFails(fmt.Errorf("OnStored was called %d times for %d events", told, n))
	}
	fmt.Println("full after", full)
}

func TestStoreDiskFull(t *testing.T) {
	out, err := output(t, spawn(t, "full", t.TempDir()))
	if err != nil || !strings.HasPrefix(out, "full after ") {
		t.Errorf("%q, %v", out, err)
	}
}

// childShort puts while a write ends in the middle of a page and finds no room for the rest.
func childShort(s *Store) {
	signal.Ignore(syscall.SIGXFSZ)
	ctx, n, full := context.Background(), 0, 0
	event := func(i int) json.RawMessage { return fmt.Appendf(nil, `{"%d":"%s"}`, i, strings.Repeat("x", 30_000)) }
	put := func(i int) error { return s.Put(ctx, fmt.Sprintf("%06d", i), event(i)) }
	childFails(s.Open())
	for ; n < 20; n++ {
		childFails(put(n))
	}
	var limit syscall.Rlimit
	childFails(syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit))
	info, err := os.Stat(filepath.Join(s.Dir, fileName))
	childFails(err)
	for ; n < 60; n++ {
		at := uint64(info.Size()/2 + int64(n)*9_999)
		childFails(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: at, Max: limit.Max}))
		if err := put(n); errors.Is(err, ErrFull) {
			full++
		} else {
			childFails(err)
		}
		childFails(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
		childFails(put(n))
	}
	i := 0
	for e, err := range s.Range("", "") {
		childFails(err)
		if e.Key != fmt.Sprintf("%06d", i) || string(e.Event) != string(event(i)) {
			childFails(fmt.Errorf("entry %d is %q: %.50s", i, e.Key, e.Event))
		}
		i++
	}
	childFails(s.Close())
	checked, err := s.Check()
	childFails(err)
	if i != n || checked != n {
		childFails(fmt.Errorf("%d events, Check() = %d, want %d", i, checked, n))
	}
	fmt.Println("short", full)
}

func TestStoreShortWrite(t *testing.T) {
	out, err := output(t, spawn(t, "short", t.TempDir()))
	var full int
	if n, _ := fmt.Sscanf(out, "short %d", &full); n != 1 || full < 5 || err != nil {
		t.Errorf("%q, %v", out, err)
	}
}

// childSync puts while a sync of the disk fails, in strace. The put that it belonged to fails. The
// same put again waits for the disk, although the event may be readable already.
func childSync(s *Store) {
	for tries := 0; s.Open() != nil; tries++ { // the sync that failed was that of Open
		if tries > 10 {
			childFails(errors.New("it cannot be opened"))
		}
	}
	for i := range 6 {
		key := fmt.Sprintf("%d", i)
		before := s.id()
		for tries := 0; ; tries++ { // strace counts for each thread
			err := s.Put(context.Background(), key, eventOf(key))
			if err == nil {
				break
			}
			if !errors.Is(err, syscall.EIO) || tries > 10 {
				childFails(err)
			}
			fmt.Println("failed")
			before = s.id()
		}
		if s.id() == before {
			childFails(errors.New("a Put was answered without a commit"))
		}
	}
	childFails(s.Close())
}

// id returns the number of the last transaction.
func (s *Store) id() int {
	tx, err := s.db.Begin(false)
	childFails(err)
	defer tx.Rollback()
	return tx.ID()
}

func TestStoreSyncFails(t *testing.T) {
	need.Program(t, "strace")
	failed := 0
	for when := range 12 {
		dir := t.TempDir()
		open(t, &Store{Dir: dir}).Close() // make the store first
		out, err := output(t, spawn(t, "sync", dir, "strace", "-f", "-qqq", "-o", "/dev/null",
			"-e", "trace=fdatasync", "-e", fmt.Sprintf("inject=fdatasync:error=EIO:when=%d", when+1)))
		if err != nil {
			t.Errorf("the sync %d fails: %q, %v", when+1, out, err)
		}
		failed += strings.Count(out, "failed")
		keys := map[string]bool{}
		for i := range 6 {
			keys[fmt.Sprint(i)] = true
		}
		verify(t, dir, keys)
	}
	if failed < 5 {
		t.Errorf("%d puts failed, want one for most of the syncs", failed)
	}
}

func output(t *testing.T, cmd *exec.Cmd) (string, error) {
	t.Helper()
	out, err := cmd.Output()
	return string(out), err
}

// If somebody cuts the file off while the store is open, or the disk can no longer be read, calls
// return an error and the program goes on.
func TestStoreCutOffWhileOpen(t *testing.T) {
	s := &Store{Dir: t.TempDir()}
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		mustPut(t, s, fmt.Sprintf("%03d", i), `"`+strings.Repeat("x", 1000)+`"`)
	}
	if err := os.Truncate(filepath.Join(s.Dir, fileName), int64(metas)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get("100"); !errors.Is(err, ErrDamaged) {
		t.Errorf("Get() = %v, want ErrDamaged", err)
	}
	failed := false
	for _, err := range s.Range("", "") {
		failed = errors.Is(err, ErrDamaged)
	}
	if !failed {
		t.Error("Range() ended without ErrDamaged")
	}
	for range 2 {
		if err := s.Put(t.Context(), "new", json.RawMessage("1")); !errors.Is(err, ErrDamaged) {
			t.Errorf("Put() = %v, want ErrDamaged", err)
		}
	}
	if err := s.Close(); !errors.Is(err, ErrDamaged) {
		t.Errorf("Close() = %v, want ErrDamaged", err)
	}
	if err := (&Store{Dir: s.Dir, LockTimeout: 1}).Open(); !errors.Is(err, ErrDamaged) {
		t.Errorf("Open() = %v, want ErrDamaged", err)
	}
}

// Neither Open, even if it mends a meta page, nor Check leaves a file open.
func TestNoFileIsLeftOpen(t *testing.T) {
	image, _ := small(t)
	st, err := readState(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	image[int(st.meta.u64(metaTx)%2)*metas/2+pageHead+metaSum] ^= 1
	files := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	s := &Store{Dir: dirOf(t, image)}
	before := files()
	_, damaged := s.Check()
	made := &Store{Dir: filepath.Join(t.TempDir(), "made")}
	if err := errors.Join(made.Open(), made.Close()); err != nil {
		t.Error(err)
	}
	if err := errors.Join(s.Open(), s.Close()); err != nil || !errors.Is(damaged, ErrDamaged) {
		t.Errorf("Open() = %v, Check() before = %v", err, damaged)
	}
	if _, err := s.Check(); err != nil {
		t.Errorf("Check() = %v", err)
	}
	if after := files(); after > before {
		t.Errorf("%d files are left open", after-before)
	}
}
