package alldata

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/portluck/portluck/handlers"
	"go.etcd.io/bbolt"
)

// put is an event that waits to be written.
type put struct {
	key    string
	sealed []byte

	// The writer's, until done is closed.
	stored bool   // the event is new
	other  []byte // the event that was there already, sealed
	err    error
	done   chan struct{}
}

func (p *put) size() int { return len(p.key) + len(p.sealed) + 256 }

// write writes whatever is queued in one batch, again and again until the store is closed.
func (s *Store) write(db *bbolt.DB, stopped <-chan struct{}, ended chan<- struct{}) {
	defer close(ended)
	debug.SetPanicOnFault(true)
	for {
		batch := s.take()
		if batch == nil {
			return
		}
		err := s.commit(db, batch)
		s.finish(batch, err)
		if s.OnStored != nil {
			s.tellAll(batch, stopped)
		}
	}
}

// tellAll calls OnStored for a batch, after the batches before it. It waits for that unless the
// store is closing, as OnStored may call Close.
func (s *Store) tellAll(batch []*put, stopped <-chan struct{}) {
	before, told := s.told, make(chan struct{})
	s.told = told
	go func() { // ends when OnStored has returned for all
		defer close(told)
		if before != nil {
			<-before
		}
		for _, p := range batch {
			if p.stored {
				s.tell(p)
			}
		}
	}()
	select {
	case <-told:
	case <-stopped:
	}
}

// take waits for a batch. It returns nil when the store is closing and everything is written.
func (s *Store) take() []*put {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) == 0 && !s.closing {
		s.wake.Wait()
	}
	batch := s.queue
	s.queue = nil
	return batch
}

// finish answers the batch. It then yields, so that the callers can put more events into the next
// batch.
func (s *Store) finish(batch []*put, err error) {
	s.mu.Lock()
	for _, p := range batch {
		s.pending -= p.size()
	}
	if errors.Is(err, ErrDamaged) && s.broken == nil {
		s.broken = err
	}
	close(s.drained)
	s.drained = make(chan struct{})
	s.mu.Unlock()
	for _, p := range batch {
		if err != nil {
			p.err, p.stored = err, false
		}
	}
	for _, p := range batch {
		close(p.done)
	}
	runtime.Gosched()
}

// errUnchanged rolls back a transaction that has nothing to write.
var errUnchanged = errors.New("unchanged")

// commit writes a batch in one transaction.
func (s *Store) commit(db *bbolt.DB, batch []*put) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, v)
		}
	}()
	if err := s.place.check(); err != nil {
		return err
	}
	update := s.update
	if update == nil {
		update = (*bbolt.DB).Update
	}
	err = update(db, func(tx *bbolt.Tx) error {
		changed, err := s.insert(tx, batch)
		switch {
		case err != nil:
			return err
		case s.unsure:
			return certain(tx)
		case !changed:
			return errUnchanged
		}
		return nil
	})
	switch {
	case errors.Is(err, errUnchanged): // then everything in the batch is on disk already
	case err != nil:
		s.unsure = true
		return full(err)
	default:
		s.unsure = false
	}
	return s.place.check() // the file may have been removed during the commit
}

// insert puts the new events of a batch.
func (s *Store) insert(tx *bbolt.Tx, batch []*put) (changed bool, err error) {
	events := tx.Bucket(eventsBucket)
	events.FillPercent = 0.9 // most keys come in order
	for _, p := range batch {
		key := []byte(p.key)
		old := events.Get(key)
		switch {
		case old == nil:
			if p.err = events.Put(key, p.sealed); p.err != nil { // the event may be too large
				continue
			}
			p.stored, changed = true, true
			if _, err := events.NextSequence(); err != nil {
				return changed, err
			}
		case !bytes.Equal(old, p.sealed):
			p.other = bytes.Clone(old)
		}
	}
	return changed, nil
}

// tell calls OnStored.
func (s *Store) tell(p *put) {
	err := handlers.Guard(func() { s.OnStored(p.key, p.sealed[sealSize:]) })
	switch {
	case err == nil:
	case s.OnError == nil:
		handlers.LogPanic(nil, nil, err)
	default:
		handlers.LogPanic(nil, nil, handlers.Guard(func() { s.OnError(fmt.Errorf("OnStored: %w", err)) }))
	}
}
