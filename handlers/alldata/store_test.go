package alldata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/portluck/portluck/handlers"
	"go.etcd.io/bbolt"
)

func TestStorePut(t *testing.T) {
	long := strings.Repeat("k", MaxKeySize+1)
	tests := []struct {
		name, key, event string
		want             error
		kept             string // under the key afterwards; nothing if empty
	}{
		{"new", "a", `{"x": [1, 2]}`, nil, `{"x":[1,2]}`},
		{"the same again", "a", `{"x":[1,2]}`, nil, `{"x":[1,2]}`},
		{"the same, spelled otherwise", "a", ` { "\u0078" : [ 1.0 , 2e0 ] } `, nil, `{"x":[1,2]}`},
		{"another", "a", `{"x":[2,1]}`, ErrConflict, `{"x":[1,2]}`},
		{"null", "null", `null`, nil, `null`},
		{"a scalar", "scalar", `5`, nil, `5`},
		{"half a pair is kept as it came", "half", `"\ud800"`, nil, `"\ud800"`},
		{"another half is another event", "half", `"\ud801"`, ErrConflict, `"\ud800"`},
		{"longest key", long[1:], `1`, nil, `1`},
		{"key too long", long, `1`, ErrInvalid, ""},
		{"no key", "", `1`, ErrInvalid, ""},
		{"key is no text", "\xff", `1`, ErrInvalid, ""},
		{"no event", "b", ``, ErrInvalid, ""},
		{"no JSON", "b", `{foo: 'bar'}`, ErrInvalid, ""},
		{"two events", "b", `1 2`, ErrInvalid, ""},
		{"event is no text", "b", "\"\xff\"", ErrInvalid, ""},
		{"too deep", "b", strings.Repeat("[", 20000) + strings.Repeat("]", 20000), ErrInvalid, ""},
	}
	s := open(t, &Store{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := s.Put(t.Context(), tt.key, json.RawMessage(tt.event)); !errors.Is(err, tt.want) {
				t.Errorf("Put() = %v, want %v", err, tt.want)
			}
			got, err := s.Get(tt.key)
			if string(got) != tt.kept || (tt.kept == "") != errors.Is(err, ErrNotFound) {
				t.Errorf("Get() = %s, %v, want %s", got, err, tt.kept)
			}
		})
	}
	if n, err := s.Len(); n != 5 || err != nil {
		t.Errorf("Len() = %d, %v, want 5", n, err)
	}
}

// What was put is there when the store is opened again, sorted by key.
func TestStoreReopenAndRange(t *testing.T) {
	s := &Store{Dir: filepath.Join(t.TempDir(), "made", "by", "Open")}
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range 1000 {
		want = append(want, fmt.Sprintf("%06d=%s", i, eventOf(fmt.Sprintf("%06d", i))))
	}
	each(1000, func(i int) {
		key := fmt.Sprintf("%06d", i*331%1000)
		mustPut(t, s, key, string(eventOf(key)))
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, s)
	tests := []struct {
		name, from, to string
		want           []string
	}{
		{"all", "", "", want},
		{"from", "000990", "", want[990:]},
		{"to", "", "000010", want[:10]},
		{"more than a page", "000100", "000700", want[100:700]},
		{"between keys", "0000995", "000101", want[100:101]},
		{"nothing", "000500", "000500", nil},
		{"backwards", "000500", "000400", nil},
		{"after the end", "1", "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := all(t, s, tt.from, tt.to); !slices.Equal(got, tt.want) {
				t.Errorf("%d entries, want %d", len(got), len(tt.want))
			}
		})
	}
	for e := range s.Range("", "") { // a loop that ends early
		if e.Key != "000000" {
			t.Errorf("first key %q", e.Key)
		}
		break
	}
}

// A loop over the store may put. Closing the store ends the loop.
func TestStoreRangeWhilePutting(t *testing.T) {
	s := open(t, &Store{})
	for i := range 600 {
		mustPut(t, s, fmt.Sprintf("%06d", i), `"`+strings.Repeat("x", 8000)+`"`)
	}
	n := 0
	for e, err := range s.Range("", "") {
		switch {
		case n == 600:
			if !errors.Is(err, ErrClosed) {
				t.Errorf("after Close: %q, %v", e.Key, err)
			}
		case err != nil:
			t.Fatal(err)
		case n < 100:
			mustPut(t, s, "-before "+e.Key, `"`+strings.Repeat("y", 80000)+`"`) // the file grows
		}
		if n++; n == 600 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n != 600 && n != 601 {
		t.Errorf("%d entries, want 600 and the end", n)
	}
}

// Close writes what is queued. After it calls return an error, and no event is half stored.
func TestStoreClose(t *testing.T) {
	s := &Store{Dir: t.TempDir()}
	if err := s.Close(); err != nil {
		t.Errorf("Close() before Open = %v", err)
	}
	if err := s.Put(t.Context(), "a", json.RawMessage("1")); !errors.Is(err, ErrClosed) {
		t.Errorf("Put() before Open = %v", err)
	}
	for round := range 5 {
		if err := s.Open(); err != nil {
			t.Fatal(err)
		}
		if err := s.Open(); err == nil {
			t.Error("a second Open succeeded")
		}
		var mu sync.Mutex
		kept := map[string]bool{}
		each(50, func(i int) {
			if i == 25 {
				if err := s.Close(); err != nil {
					t.Errorf("Close() = %v", err)
				}
				return
			}
			key := fmt.Sprintf("%d-%d", round, i)
			switch err := s.Put(context.Background(), key, eventOf(key)); {
			case err == nil:
				mu.Lock()
				kept[key] = true
				mu.Unlock()
			case !errors.Is(err, ErrClosed):
				t.Errorf("Put() = %v", err)
			}
		})
		if _, err := s.Get("a"); !errors.Is(err, ErrClosed) {
			t.Errorf("Get() after Close = %v", err)
		}
		if _, err := s.Len(); !errors.Is(err, ErrClosed) {
			t.Errorf("Len() after Close = %v", err)
		}
		again := &Store{Dir: s.Dir}
		if err := again.Open(); err != nil {
			t.Fatal(err)
		}
		for key := range kept {
			if got, err := again.Get(key); string(got) != string(eventOf(key)) || err != nil {
				t.Errorf("Get(%q) = %s, %v", key, got, err)
			}
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// OnStored is called once for each new event. A panic in it is reported and costs nothing else.
func TestStoreOnStored(t *testing.T) {
	var told, failed []string
	s := open(t, &Store{
		OnStored: func(key string, event json.RawMessage) {
			told = append(told, key+"="+string(event))
			if key == "b" {
				panic("on purpose")
			}
		},
		OnError: func(err error) {
			if !errors.Is(err, handlers.ErrPanic) {
				t.Errorf("OnError(%v)", err)
			}
			failed = append(failed, err.Error())
		},
	})
	for _, key := range []string{"a", "b", "a", "c"} {
		mustPut(t, s, key, `[ "`+key+`" ]`)
	}
	_ = s.Put(t.Context(), "a", json.RawMessage("2"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if want := []string{`a=["a"]`, `b=["b"]`, `c=["c"]`}; !slices.Equal(told, want) {
		t.Errorf("OnStored was told %q, want %q", told, want)
	}
	if len(failed) != 1 || !strings.Contains(failed[0], handlers.ErrPanic.Error()) {
		t.Errorf("OnError was told %q", failed)
	}
}

func TestStoreOpenFails(t *testing.T) {
	used := open(t, &Store{})
	tests := []struct {
		name string
		make func(t *testing.T, dir string) // makes the directory of the store
		want error
		text string
	}{
		{"in use", nil, ErrInUse, "another process"},
		{"a file", func(t *testing.T, dir string) { write(t, dir, "") }, nil, "not a directory"},
		{"empty", func(t *testing.T, dir string) { write(t, dir+"/alldata.db", "") }, ErrDamaged, "no valid head"},
		{"other content", func(t *testing.T, dir string) { write(t, dir+"/alldata.db", strings.Repeat("x", 100000)) }, ErrDamaged, "no valid head"},
		{"another database", func(t *testing.T, dir string) {
			os.MkdirAll(dir, 0o700)
			db, err := bbolt.Open(dir+"/alldata.db", 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			db.Close()
		}, ErrDamaged, "not a file of alldata"},
		{"another version", func(t *testing.T, dir string) {
			os.MkdirAll(dir, 0o700)
			if err := create(dir, dir+"/alldata.db"); err != nil {
				t.Fatal(err)
			}
			db, err := bbolt.Open(dir+"/alldata.db", 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if err := db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(formatBucket).Put(versionKey, []byte("2")) }); err != nil {
				t.Fatal(err)
			}
		}, nil, `version "2"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &Store{Dir: filepath.Join(t.TempDir(), "store"), LockTimeout: 1}
			if tt.make == nil {
				s.Dir = used.Dir
			} else {
				tt.make(t, s.Dir)
			}
			err := s.Open()
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("Open() = %v, want %v: %s", err, tt.want, tt.text)
			}
		})
	}
	if err := (&Store{}).Open(); err == nil {
		t.Error("Open() of no directory succeeded")
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Open removes what killed processes have left while they made the store. Of many processes that
// make it at once only one does.
func TestStoreCreatedAtOnce(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "new-123.db"), "half")
	each(8, func(i int) {
		s := &Store{Dir: dir, LockTimeout: 1e11}
		if err := s.Open(); err != nil {
			t.Errorf("Open() = %v", err)
			return
		}
		defer s.Close()
		key := fmt.Sprint("key", i)
		if err := s.Put(context.Background(), key, eventOf(key)); err != nil {
			t.Errorf("Put() = %v", err)
		}
	})
	s := open(t, &Store{Dir: dir})
	if n, err := s.Len(); n != 8 || err != nil {
		t.Errorf("Len() = %d, %v, want 8: all puts are in one file", n, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("files %q", left)
	}
}
