package alldata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// Of many different events that are put at once under one key, one stays: all its puts succeed, and
// all others are conflicts.
func TestStoreOneKey(t *testing.T) {
	var told atomic.Int64
	s := open(t, &Store{OnStored: func(string, json.RawMessage) { told.Add(1) }})
	var mu sync.Mutex
	won := map[string]int{}
	each(64, func(i int) {
		event := fmt.Sprintf(`{"writer":%d}`, i/8)
		switch err := s.Put(t.Context(), "key", json.RawMessage(event)); {
		case err == nil:
			mu.Lock()
			won[event]++
			mu.Unlock()
		case !errors.Is(err, ErrConflict):
			t.Errorf("Put() = %v", err)
		}
	})
	got, err := s.Get("key")
	if err != nil || len(won) != 1 || won[string(got)] != 8 {
		t.Errorf("kept %s, %v; succeeded: %v", got, err, won)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := told.Load(); n != 1 {
		t.Errorf("OnStored was called %d times, want once", n)
	}
}

// Many writers share a commit: there are far fewer transactions than puts.
func TestStoreGroupCommit(t *testing.T) {
	hold, held := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s := open(t, &Store{OnStored: func(string, json.RawMessage) {
		once.Do(func() {
			close(held)
			<-hold
		})
	}})
	mustPut(t, s, "first", "1")
	<-held // the writer waits
	before := transaction(t, s)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() { mustPut(t, s, fmt.Sprint("key", i), "1") }) // ends when all are written
	}
	s.await(100) // until all are queued
	close(hold)
	wg.Wait()
	if n := transaction(t, s) - before; n != 1 {
		t.Errorf("%d transactions for 100 puts at once, want 1", n)
	}
	for range 10 { // nothing is written, as nothing is new
		mustPut(t, s, "first", "1")
	}
	if n := transaction(t, s) - before; n != 1 {
		t.Errorf("%d transactions after puts of what is there, want 1", n)
	}
}

// await waits until n puts are queued.
func (s *Store) await(n int) {
	for queued := 0; queued < n; runtime.Gosched() {
		s.mu.Lock()
		queued = len(s.queue)
		s.mu.Unlock()
	}
}

// transaction returns the number of the last transaction.
func transaction(t *testing.T, s *Store) (id int) {
	t.Helper()
	err := s.db.View(func(tx *bbolt.Tx) error {
		id = tx.ID()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Put waits until enough of what waits is written, or its ctx ends.
func TestStoreMaxPending(t *testing.T) {
	hold, held := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s := open(t, &Store{MaxPending: 1000, OnStored: func(string, json.RawMessage) {
		once.Do(func() {
			close(held)
			<-hold
		})
	}})
	mustPut(t, s, "first", "1")
	<-held
	long := `"` + strings.Repeat("x", 5000) + `"`
	first, second := make(chan error), make(chan error)
	// Ends when it is written.
	go func() { first <- s.Put(context.Background(), "long", json.RawMessage(long)) }()
	// Wait until it is queued. It alone may exceed the bound.
	s.await(1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { second <- s.Put(ctx, "surplus", json.RawMessage("1")) }() // ends with ctx
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("Put() = %v, want context.Canceled", err)
	}
	// Ends when it is written.
	go func() { second <- s.Put(context.Background(), "later", json.RawMessage("1")) }()
	close(hold)
	if err := errors.Join(<-first, <-second); err != nil {
		t.Errorf("Put() = %v", err)
	}
	if _, err := s.Get("surplus"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get() = %v, want ErrNotFound", err)
	}
}

// If ctx ends during the commit Put returns an error, but the event is stored.
func TestStorePutGivesUp(t *testing.T) {
	hold, held := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s := open(t, &Store{OnStored: func(string, json.RawMessage) {
		once.Do(func() {
			close(held)
			<-hold
		})
	}})
	mustPut(t, s, "first", "1")
	<-held
	ctx, cancel := context.WithCancel(t.Context())
	put := make(chan error)
	go func() { put <- s.Put(ctx, "key", json.RawMessage("1")) }() // ends with ctx
	s.await(1)                                                     // until it is queued
	cancel()
	if err := <-put; !errors.Is(err, context.Canceled) {
		t.Errorf("Put() = %v, want context.Canceled", err)
	}
	close(hold)
	mustPut(t, s, "key", "1")
	if err := s.Put(ctx, "other", json.RawMessage("1")); !errors.Is(err, context.Canceled) {
		t.Errorf("Put() after the end of ctx = %v", err)
	}
}

// Open commits, and so does the first batch after a failed commit, even if it has nothing new: what
// can be read may have been written by a process that was killed before it had waited for the disk.
func TestStoreMakesSure(t *testing.T) {
	s := open(t, &Store{})
	mustPut(t, s, "key", "1")
	before := transaction(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, s)
	if got := transaction(t, s); got != before+1 {
		t.Errorf("Open made %d transactions, want 1", got-before)
	}
	mustPut(t, s, "key", "1")
	if got := transaction(t, s); got != before+1 {
		t.Errorf("a put of what is there made %d transactions, want none", got-before-1)
	}
	s.unsure = true // as after a failed commit; the writer is idle now
	mustPut(t, s, "key", "1")
	mustPut(t, s, "key", "1")
	if got := transaction(t, s); got != before+2 {
		t.Errorf("two puts after a failure made %d transactions, want 1", got-before-1)
	}
}

// While Close writes what is queued, Put accepts nothing more.
func TestStorePutWhileClosing(t *testing.T) {
	hold, held := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s := &Store{Dir: t.TempDir(), OnStored: func(string, json.RawMessage) {
		once.Do(func() {
			close(held)
			<-hold
		})
	}}
	open(t, s)
	mustPut(t, s, "first", "1")
	<-held
	queued, closed := make(chan error), make(chan error)
	// Ends when it is written.
	go func() { queued <- s.Put(context.Background(), "queued", json.RawMessage("1")) }()
	s.await(1)
	go func() { closed <- s.Close() }() // ends when that is written
	for closing := false; !closing; runtime.Gosched() {
		s.mu.Lock()
		closing = s.closing
		s.mu.Unlock()
	}
	// If it were queued it would wait for hold.
	late, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Put(late, "late", json.RawMessage("1")); !errors.Is(err, ErrClosed) {
		t.Errorf("Put() while closing = %v, want ErrClosed", err)
	}
	close(hold)
	if err := errors.Join(<-queued, <-closed); err != nil {
		t.Errorf("Put() before Close, Close() = %v", err)
	}
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get("queued"); err != nil {
		t.Errorf("Get() = %v", err)
	}
}
