package alldata

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"runtime/debug"
	"slices"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Get returns the event under key, or an [ErrNotFound].
func (s *Store) Get(key string) (event json.RawMessage, err error) {
	err = s.view(func(events *bbolt.Bucket) error {
		sealed := events.Get([]byte(key))
		if sealed == nil {
			return fmt.Errorf("%w: %.100q", ErrNotFound, key)
		}
		found, err := unseal(key, sealed)
		event = bytes.Clone(found)
		return err
	})
	return event, err
}

// Len returns the number of events.
func (s *Store) Len() (n int, err error) {
	err = s.view(func(events *bbolt.Bucket) error {
		n = int(events.Sequence())
		return nil
	})
	return n, err
}

// Range returns the events whose keys are at least from and less than to, in the byte order of
// their keys, which is the order of time for keys of [NewKey]. An empty to means no end. All events
// whose put was answered before are included; events that are put meanwhile may be. The loop may
// call any method. If the store fails or is closed, the last pair has an error.
func (s *Store) Range(from, to string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for next := []byte(from); ; {
			page, err := s.page(next, to)
			more := !slices.ContainsFunc(page, func(e Entry) bool { return !yield(e, nil) })
			if more && err != nil {
				yield(Entry{}, err)
			}
			if !more || err != nil || len(page) == 0 {
				return
			}
			next = append([]byte(page[len(page)-1].Key), 0)
		}
	}
}

// Limits of one page of Range. The file cannot grow during a read, so Range reads a page at a time.
const (
	pageEntries = 256
	pageBytes   = 1 << 20
)

// page returns the next entries, from the key next on.
func (s *Store) page(next []byte, to string) (page []Entry, err error) {
	err = s.view(func(events *bbolt.Bucket) error {
		size := 0
		c := events.Cursor()
		for k, v := c.Seek(next); k != nil && len(page) < pageEntries && size < pageBytes; k, v = c.Next() {
			key := string(k)
			if to != "" && key >= to {
				return nil
			}
			event, err := unseal(key, v)
			if err != nil {
				return err
			}
			page = append(page, Entry{Key: key, Event: bytes.Clone(event)})
			size += len(v)
		}
		return nil
	})
	return page, err
}

// view calls read with the events. A fault in reading the mapped file is an error, not a crash.
func (s *Store) view(read func(events *bbolt.Bucket) error) (err error) {
	s.mu.Lock()
	db := s.db
	s.mu.Unlock()
	if db == nil {
		return ErrClosed
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, v)
		}
	}()
	err = db.View(func(tx *bbolt.Tx) error { return read(tx.Bucket(eventsBucket)) })
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	return err
}
