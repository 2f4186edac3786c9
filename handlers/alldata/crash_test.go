package alldata

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// After a crash of the machine the disk has what was written before the last sync, and any sectors
// of what was written since, in any order. bbolt syncs twice in a commit: after the data, and after
// the meta page that makes the data count. These tests make the files that a crash at any moment of
// a commit may leave, and check that they have everything that was answered before.

const sector = 512

// crash has the file before and after one commit.
type crash struct {
	before, after []byte
	entries       []string // before
	added         string   // by the commit
}

// image returns the file that a crash leaves. pick reports whether the new content of the sector at
// an offset is on disk.
func (c *crash) image(size int, pick func(at int) bool) []byte {
	image := make([]byte, size)
	copy(image, c.before)
	for at := 0; at < size; at += sector {
		if end := min(at+sector, size); end <= len(c.after) && pick(at) {
			copy(image[at:end], c.after[at:end])
		}
	}
	return image
}

// metas is the length of the two meta pages.
var metas = 2 * os.Getpagesize()

// crashes puts events of many sizes, and calls f for each commit.
func crashes(t *testing.T, f func(c *crash)) {
	t.Helper()
	dir := t.TempDir()
	s := open(t, &Store{Dir: dir})
	for i, size := range []int{1, 10, 100, 1000, 3000, 5000, 1, 20000, 100, 60000, 300, 300, 200000, 50, 1000} {
		c := &crash{before: read(t, dir), entries: all(t, s, "", "")}
		key := fmt.Sprintf("%04d", i*7%15)
		mustPut(t, s, key, `"`+strings.Repeat("x", size)+`"`)
		c.after, c.added = read(t, dir), key
		f(c)
	}
}

// read returns the file of a store.
func read(t testing.TB, dir string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// dirOf returns a directory with a store whose file is image.
func dirOf(t testing.TB, image []byte) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, fileName), image, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// holds opens an image and checks that it has what was there before the commit. With whole it must
// also have the new event; with none it must not.
func holds(t *testing.T, c *crash, image []byte, none, whole bool) {
	t.Helper()
	s := &Store{Dir: dirOf(t, image)}
	for range 2 { // the second time checks what the first Open has written
		if err := s.Open(); err != nil {
			t.Fatalf("Open() = %v", err)
		}
		got := all(t, s, "", "")
		if n := len(got); none && n != len(c.entries) || whole && n != len(c.entries)+1 {
			t.Errorf("%d entries after %d and a commit: none of it %t, all %t", n, len(c.entries), none, whole)
		}
		got = slices.DeleteFunc(got, func(e string) bool { return strings.HasPrefix(e, c.added+"=") })
		if !slices.Equal(got, c.entries) {
			t.Errorf("entries %.50q, want %.50q", got, c.entries)
		}
		if _, err := s.Get(c.added); err != nil && !errors.Is(err, ErrNotFound) {
			t.Errorf("Get() = %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	open(t, s)
	mustPut(t, s, "afterwards", `"fine"`)
	s.Close()
}

// A crash leaves any part of the data, and any length of the file, without the meta page.
func TestCrashBeforeMeta(t *testing.T) {
	crashes(t, func(c *crash) {
		for part := range 5 {
			size := len(c.before)
			if grown := len(c.after) - size; grown > 0 {
				size += rand.IntN(grown + 1)
			}
			holds(t, c, c.image(size, func(at int) bool { return at >= metas && rand.IntN(4) < part }), true, false)
		}
	})
}

// A crash leaves all of the data, and the meta page up to any byte: the file has either state.
func TestCrashInMeta(t *testing.T) {
	crashes(t, func(c *crash) {
		for range 3 {
			image := c.image(len(c.after), func(at int) bool { return at >= metas })
			page := c.after[:metas/2]
			at := 0
			if slices.Equal(page, c.before[:metas/2]) {
				at = metas / 2
			}
			torn := rand.IntN(pageHead + metaSize + 1)
			copy(image[at:at+torn], c.after[at:])
			holds(t, c, image, false, torn == pageHead+metaSize)
		}
		holds(t, c, c.after, false, true)
	})
}

// Open detects a file that was cut off, which no crash does.
func TestOpenCutOff(t *testing.T) {
	crashes(t, func(c *crash) {
		image := c.after[:rand.IntN(len(c.after))]
		s := &Store{Dir: dirOf(t, image)}
		switch err := s.Open(); {
		case errors.Is(err, ErrDamaged):
		case err != nil:
			t.Errorf("Open() of %d of %d bytes = %v", len(image), len(c.after), err)
		default: // only empty pages are missing
			if n := len(all(t, s, "", "")); n != len(c.entries)+1 {
				t.Errorf("%d entries, want %d", n, len(c.entries)+1)
			}
			s.Close()
		}
	})
}
