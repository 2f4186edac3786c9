package alldata

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/testdata/need"
)

// small makes a small store with pages of every kind, and returns its file and entries.
func small(t *testing.T) (image []byte, entries []Entry) {
	t.Helper()
	s := &Store{Dir: t.TempDir()}
	open(t, s)
	each(60, func(i int) {
		size := 200
		if i == 30 {
			size = 5000 // more than a page
		}
		key := fmt.Sprintf("%03d", i)
		mustPut(t, s, key, `"`+key+strings.Repeat("x", size)+`"`)
	})
	for e, err := range s.Range("", "") {
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	image = read(t, s.Dir)
	st, err := readState(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	return image[:st.meta.u64(metaPages)*uint64(st.meta.pageSize())], entries
}

// After damage to any byte of a store either Open detects it, or the store has exactly what was put
// and accepts more. Nothing hangs or crashes, even with SkipVerify. With TEST_LONG every byte is
// damaged in every way.
func TestEveryByteDamaged(t *testing.T) {
	image, entries := small(t)
	values := []func(b byte) byte{
		func(b byte) byte { return ^b }, func(b byte) byte { return b + 1 }, func(byte) byte { return 0 }, func(byte) byte { return 0xff },
	}
	long := need.Long()
	workers := 2 * runtime.GOMAXPROCS(0)
	for worker := range workers {
		t.Run(fmt.Sprint(worker), func(t *testing.T) {
			t.Parallel()
			d := &damages{entries: entries, s: &Store{Dir: t.TempDir()}}
			for at := worker; at < len(image); at += workers {
				head := at%4096 < 32 || at < metas && at%(metas/2) < pageHead+metaSize
				if !long && !head && at%211 != 0 {
					continue
				}
				for i, value := range values {
					if broken := value(image[at]); broken != image[at] && (long || i == at/4%4) {
						d.try(t, at, slices.Concat(image[:at], []byte{broken}, image[at+1:]))
					}
				}
			}
			t.Logf("%d stores, of which Open took %d; without a look at the events %d", d.tried, d.whole, d.unverified)
		})
	}
}

// damages are stores with a damaged byte.
type damages struct {
	entries                  []Entry
	s                        *Store
	tried, whole, unverified int
}

// try checks a store that is damaged at one byte.
func (d *damages) try(t *testing.T, at int, broken []byte) {
	t.Helper()
	hang := time.AfterFunc(time.Minute, func() { panic(fmt.Sprintf("byte %d, now %#x: no end", at, broken[at])) })
	defer hang.Stop()
	d.tried++
	for _, d.s.SkipVerify = range []bool{false, true} {
		if err := os.WriteFile(filepath.Join(d.s.Dir, fileName), broken, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := d.s.Open(); err != nil {
			if !errors.Is(err, ErrDamaged) && !strings.Contains(err.Error(), "is of version") {
				t.Errorf("byte %d, now %#x: Open() = %v, want ErrDamaged", at, broken[at], err)
			}
			continue
		}
		if d.s.SkipVerify {
			d.unverified++
			d.lookUnverified(t, at)
		} else {
			d.whole++
			d.look(t, at)
		}
	}
}

// look checks that a store which Open has accepted is whole.
func (d *damages) look(t *testing.T, at int) {
	t.Helper()
	defer func() {
		if err := d.s.Close(); err != nil {
			t.Errorf("byte %d: Close() = %v", at, err)
		}
	}()
	var got []Entry
	for e, err := range d.s.Range("", "") {
		if err != nil {
			t.Errorf("byte %d: Range() = %v", at, err)
		}
		got = append(got, e)
	}
	if !slices.EqualFunc(got, d.entries, func(a, b Entry) bool { return a.Key == b.Key && string(a.Event) == string(b.Event) }) {
		t.Errorf("byte %d: the store has %d other entries", at, len(got))
	}
	if n, err := d.s.Len(); n != len(d.entries) || err != nil {
		t.Errorf("byte %d: Len() = %d, %v", at, n, err)
	}
	e := d.entries[at%len(d.entries)]
	if got, err := d.s.Get(e.Key); string(got) != string(e.Event) || err != nil {
		t.Errorf("byte %d: Get(%q) = %s, %v", at, e.Key, got, err)
	}
	if err := d.s.Put(context.Background(), e.Key, json.RawMessage("0")); !errors.Is(err, ErrConflict) {
		t.Errorf("byte %d: Put(%q) = %v, want ErrConflict", at, e.Key, err)
	}
	if err := d.s.Put(context.Background(), e.Key+"x", json.RawMessage("0")); err != nil {
		t.Errorf("byte %d: Put(%q) = %v", at, e.Key+"x", err)
	}
}

// lookUnverified checks that no event is other than it was.
func (d *damages) lookUnverified(t *testing.T, at int) {
	t.Helper()
	defer d.s.Close()
	for _, e := range d.entries {
		got, err := d.s.Get(e.Key)
		if err == nil && string(got) != string(e.Event) || err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotFound) {
			t.Errorf("byte %d: Get(%q) = %s, %v", at, e.Key, got, err)
		}
		if err := d.s.Put(context.Background(), e.Key, e.Event); err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("byte %d: Put(%q) = %v", at, e.Key, err)
		}
	}
	if err := d.s.Put(context.Background(), "another", json.RawMessage("0")); err != nil && !errors.Is(err, ErrDamaged) {
		t.Errorf("byte %d: Put() = %v", at, err)
	}
}

// Open and Check return the same error for damage, and Check changes nothing.
func TestDamage(t *testing.T) {
	image, _ := small(t)
	st, err := readState(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	order, at := binary.NativeEndian, func(field int) int { return int(st.meta.u64(field)) * metas / 2 }
	set := func(at int, value ...byte) func(b []byte) {
		return func(b []byte) { copy(b[at:], value) }
	}
	key := func(now string) func(b []byte) { // of an event, in free pages too
		return func(b []byte) {
			for _, at := range regexp.MustCompile(`(?s)043.{1,4}"043x`).FindAllIndex(b, -1) {
				copy(b[at[0]:], now)
			}
		}
	}
	newest := int(st.meta.u64(metaTx)%2)*metas/2 + pageHead
	tests := []struct {
		name   string
		damage func(b []byte)
		text   string // of the error
		mended bool
	}{
		{"a key that stays in order", key("04x"), "another checksum", false},
		{"a key that does not", key("003"), "not greater", false},
		{"an event", func(b []byte) { copy(b, bytes.ReplaceAll(b, []byte("043x"), []byte("043y"))) }, "another checksum", false},
		{"free pages without end", set(at(metaFreelist)+12, 0xff, 0xff, 0xff, 0xff), "the 4294967295 after it are not in it", false},
		{"more free pages than there is room for", func(b []byte) { order.PutUint16(b[at(metaFreelist)+10:], uint16(metas/2/8)) }, "has no room", false},
		{"the root is another page", func(b []byte) { b[at(metaRoot)] ^= 0x40 }, "says that it is", false},
		{"head cut short", func(b []byte) { order.PutUint64(b[newest+metaSum:], 1) }, "Open mends it", true},
		{"head of another transaction", func(b []byte) { b[newest+metaTx] ^= 0x40 }, "Open mends it", true},
		{"head without a magic", set(newest, 0), "Open mends it", true},
		{"head with another root", func(b []byte) { b[newest+metaRoot]++ }, "alldata.db: ", false},
		{"head overwritten", set(newest, bytes.Repeat([]byte("x"), metaSize)...), "the newest events may be missing", false},
		{"heads overwritten", set(0, bytes.Repeat([]byte("x"), metas)...), "no valid head", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			broken := bytes.Clone(image)
			tt.damage(broken)
			s := &Store{Dir: dirOf(t, broken)}
			if _, err := s.Check(); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("Check() = %v, want ErrDamaged: %s", err, tt.text)
			}
			if !bytes.Equal(read(t, s.Dir), broken) {
				t.Error("Check changed the file")
			}
			err := s.Open()
			if tt.mended && err != nil || !tt.mended && !errors.Is(err, ErrDamaged) {
				t.Fatalf("Open() = %v", err)
			}
			if !tt.mended {
				return
			}
			if n, err := s.Len(); n != 60 || err != nil {
				t.Errorf("Len() = %d, %v, want 60", n, err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if n, err := s.Check(); n != 60 || err != nil {
				t.Errorf("Check() = %d, %v, want 60", n, err)
			}
		})
	}
}

// With SkipVerify damage to an event is found when the event is read.
func TestSkipVerify(t *testing.T) {
	image, _ := small(t)
	image = bytes.ReplaceAll(image, []byte("043x"), []byte("043y"))
	s := open(t, &Store{Dir: dirOf(t, image), SkipVerify: true})
	var bad []string
	for i := range 60 {
		key := fmt.Sprintf("%03d", i)
		if _, err := s.Get(key); errors.Is(err, ErrDamaged) {
			bad = append(bad, key)
		}
	}
	if !slices.Equal(bad, []string{"043"}) {
		t.Fatalf("Get() found damage to %q, want 043", bad)
	}
	if err := s.Put(context.Background(), bad[0], json.RawMessage(`"another"`)); !errors.Is(err, ErrDamaged) {
		t.Errorf("Put() = %v, want ErrDamaged", err)
	}
	var last error
	for _, err := range s.Range("", "") {
		last = err
	}
	if !errors.Is(last, ErrDamaged) {
		t.Errorf("Range() ended with %v, want ErrDamaged", last)
	}
}

// Check counts the events of a store that nobody has open. It makes no store.
func TestCheck(t *testing.T) {
	s := &Store{Dir: t.TempDir(), LockTimeout: 1}
	if _, err := s.Check(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Check() without a store = %v, want ErrNotExist", err)
	}
	open(t, s)
	mustPut(t, s, "key", "1")
	if _, err := s.Check(); !errors.Is(err, ErrInUse) {
		t.Errorf("Check() of an open store = %v, want ErrInUse", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Check(); n != 1 || err != nil {
		t.Errorf("Check() = %d, %v, want 1", n, err)
	}
}
