package alldata

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/portluck/portluck/handlers/internal/setting"
)

// Errors of a [Store].
var (
	// ErrClosed means that the store is not open.
	ErrClosed = errors.New("the store is closed")
	// ErrNotFound means that there is no event under the key.
	ErrNotFound = errors.New("no event has this key")
	// ErrDamaged means that the file is not what was written.
	ErrDamaged = errors.New("the store is damaged")
	// ErrInUse means that another process has the store open.
	ErrInUse = errors.New("another process has the store open")
	// ErrGone means that the file of an open store, or its directory, was removed, renamed or
	// replaced, so that nobody would find what is written to it. Put works again when the file is
	// back.
	ErrGone = errors.New("the file of the store is no longer where it was opened")
)

// A Store keeps events on disk, for ever. Each event is written once under its key and never
// changed. The fields must not be changed while the store is open. Several goroutines may call its
// methods at once.
//
// A process with a bound on the size of its files (ulimit -f) is ended by the signal SIGXFSZ at
// that bound, unless the program ignores the signal; then Put returns an [ErrFull].
type Store struct {
	// Dir is the directory of the store, which has the file alldata.db. Open makes it.
	Dir string
	// LockTimeout is how long Open waits for another process that has the store open; 1 second if
	// zero, without end if negative.
	LockTimeout time.Duration
	// SkipVerify makes Open and Check read the pages of the file and the keys, but not the events.
	// Damage to an event is then found when it is read. Damage to a key that leaves the keys in
	// order is not: Get says ErrNotFound, and Put takes another event.
	SkipVerify bool
	// MaxPending bounds the bytes that wait to be written: Put waits while there are more; 64 MiB
	// if zero, no bound if negative.
	MaxPending int
	// OnStored, if not nil, is called for each new event once that is on disk, one at a time in the
	// order of writing. While it runs only Close writes, so it must return soon and must not call
	// Put. A panic in it is passed to OnError.
	OnStored func(key string, event json.RawMessage)
	// OnError, if not nil, gets errors that no call returns: panics of OnStored.
	OnError func(err error)

	mu      sync.Mutex // guards following
	wake    sync.Cond  // for changes of queue and closing
	db      *bbolt.DB  // nil unless open
	closing bool
	broken  error // why nothing can be written any more
	queue   []*put
	pending int           // bytes in queue and in the batch that is being written
	drained chan struct{} // closed when pending decreases
	stopped chan struct{} // closed by Close
	ended   chan struct{} // closed when the writer has ended
	// closed when OnStored was called for everything written; the writer owns it until ended
	told chan struct{}

	// place is where the file is while it is open. Only the writer's goroutine uses it.
	place  place
	update func(db *bbolt.DB, f func(tx *bbolt.Tx) error) error // bbolt's if nil; tests replace it

	// unsure means that a commit has failed: what can be read may not be on disk. Only the writer's
	// goroutine uses it.
	unsure    bool
	comparing sync.Mutex // held by each comparison, as they take much memory
}

// An Entry is an event and its key.
type Entry struct {
	Key   string
	Event json.RawMessage // without white space
}

// The names and keys in the file.
var (
	// The key of an event maps to crc32c(key, event) and the event. The sequence is the number of
	// events.
	eventsBucket = []byte("events")
	// "version" maps to "1". The sequence changes with each commit that certain makes.
	formatBucket = []byte("alldata")
	versionKey   = []byte("version")
	version      = []byte("1")
)

// Open opens the store, and makes it if there is none. It verifies the file first, and returns an
// [ErrDamaged] if that is damaged. After a crash the store is in the state before or after the
// interrupted write. That state is on disk when Open returns or, if the disk is full, with the next
// put that finds room. Open returns an [ErrFull] if there is no room to make a store.
func (s *Store) Open() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db != nil {
		return errors.New("alldata: the store is open already")
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("alldata: %w: %v", ErrDamaged, v)
		}
	}()
	db, err := s.open()
	if err != nil {
		if err = full(err); errors.Is(err, ErrFull) {
			err = fmt.Errorf("%w: make room there, or choose a directory on another disk", err)
		}
		return fmt.Errorf("alldata: %s: %w", s.Dir, err)
	}
	s.db, s.closing, s.broken = db, false, nil
	s.wake.L = &s.mu
	s.drained, s.stopped, s.ended = make(chan struct{}), make(chan struct{}), make(chan struct{})
	go s.write(db, s.stopped, s.ended) // write ends with Close, which waits for it
	return nil
}

func (s *Store) open() (*bbolt.DB, error) {
	path := filepath.Join(s.Dir, fileName)
	if err := create(s.Dir, path); err != nil {
		return nil, err
	}
	if _, err := s.verify(path, true); err != nil {
		return nil, err
	}
	db, err := s.openAt(path)
	if err != nil {
		return nil, openError(err)
	}
	// A process that was killed may have written this state without waiting for the disk, so this
	// commit does. If the disk is full, events can still be read, and the first put that finds room
	// commits.
	update := s.update
	if update == nil {
		update = (*bbolt.DB).Update
	}
	err = update(db, certain)
	s.unsure = err != nil
	if err != nil && !errors.Is(full(err), ErrFull) {
		_ = db.Close()
		return nil, err
	}
	sweep(s.Dir)
	return db, nil
}

// openAt opens the file and records its place.
func (s *Store) openAt(path string) (*bbolt.DB, error) {
	at, err := filepath.Abs(path) // the process may change its directory later
	if err != nil {
		return nil, err
	}
	o := s.options(false)
	o.OpenFile = func(name string, flag int, perm os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(name, flag, perm)
		if err != nil {
			return nil, err
		}
		info, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		s.place = place{at, info}
		return f, nil
	}
	return bbolt.Open(path, 0o600, o)
}

func (s *Store) options(readOnly bool) *bbolt.Options {
	return &bbolt.Options{
		Timeout:      max(cmp.Or(s.LockTimeout, time.Second), 0), // 0 is without end
		FreelistType: bbolt.FreelistMapType, NoStatistics: true, ReadOnly: readOnly,
	}
}

// openError turns an error of bbolt.Open into one of the store.
func openError(err error) error {
	if errors.Is(err, bolterrors.ErrTimeout) {
		return ErrInUse
	}
	return err
}

// certain changes the file, so that tx is committed even without an event. After that commit
// everything that could be read before is on disk too.
func certain(tx *bbolt.Tx) error {
	_, err := tx.Bucket(formatBucket).NextSequence()
	return err
}

// tellTime bounds how long Close waits for OnStored, which may itself have called Close.
const tellTime = time.Second

// Close writes the events that wait to be written and closes the store: nothing that was put before
// is lost. It returns when OnStored has been called for all of them, or after a second, as OnStored
// may itself call Close; the remaining calls follow then. The store can be opened again.
func (s *Store) Close() error {
	s.mu.Lock()
	db, ended := s.db, s.ended
	if db == nil || s.closing {
		s.mu.Unlock()
		if ended != nil {
			<-ended
		}
		return nil
	}
	s.closing = true
	close(s.stopped)
	s.wake.Signal()
	s.mu.Unlock()
	<-ended
	told, err := s.release(db)
	if told != nil {
		select {
		case <-told:
		case <-time.After(tellTime):
		}
	}
	return err
}

// release closes the file. It returns a channel that is closed after the last OnStored.
func (s *Store) release(db *bbolt.DB) (told chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.db = nil
	if errors.Is(s.broken, ErrDamaged) {
		// without db.Close, which may wait for locks that the failed commit still holds
		return s.told, s.broken
	}
	return s.told, db.Close()
}

// Put stores the event, which is JSON, under its key. Once Put returns nil, the event is on disk
// and survives any crash. Putting the same event under the same key again returns nil too. If the
// key has another event, that stays and Put returns an [ErrConflict]. Put returns an [ErrInvalid]
// if the key or the event is not valid, an [ErrFull] while the disk is full, and an [ErrGone] while
// the file is not in its place.
//
// Concurrent Puts share one write to the disk. If ctx ends first, Put returns its error, and the
// event may or may not be stored.
func (s *Store) Put(ctx context.Context, key string, event json.RawMessage) error {
	compact, err := check(key, event)
	if err != nil {
		return err
	}
	p := &put{key: key, sealed: seal(key, compact), done: make(chan struct{})}
	if err := s.enqueue(ctx, p); err != nil {
		return err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		return fmt.Errorf("put: it is not known whether the event is kept: %w", ctx.Err())
	}
	switch {
	case p.err != nil:
		return fmt.Errorf("put: %w", p.err)
	case p.other == nil:
		return nil
	}
	return s.compare(p, compact)
}

// compare returns an error unless the event that is already there means the same.
func (s *Store) compare(p *put, event []byte) error {
	other, err := unseal(p.key, p.other)
	if err != nil {
		return err
	}
	s.comparing.Lock()
	defer s.comparing.Unlock()
	if !equalJSON(other, event) {
		return fmt.Errorf("%w: %.100q", ErrConflict, p.key)
	}
	return nil
}

func (s *Store) maxPending() int64 {
	return setting.Or(int64(s.MaxPending), DefaultMaxPending, math.MaxInt64)
}

// enqueue waits for room in the queue, and adds p to it.
func (s *Store) enqueue(ctx context.Context, p *put) error {
	most := s.maxPending()
	for {
		s.mu.Lock()
		var err error
		switch {
		case s.db == nil || s.closing:
			err = ErrClosed
		case s.broken != nil:
			err = s.broken
		case ctx.Err() != nil:
			err = fmt.Errorf("put: %w", ctx.Err())
		case s.pending == 0 || int64(s.pending+p.size()) <= most:
			s.pending += p.size()
			s.queue = append(s.queue, p)
			s.wake.Signal()
		default:
			drained := s.drained
			s.mu.Unlock()
			select {
			case <-drained:
			case <-ctx.Done():
			}
			continue
		}
		s.mu.Unlock()
		return err
	}
}
