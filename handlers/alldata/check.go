package alldata

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// Check verifies a store that is not open, as Open does, but changes nothing. It returns the number
// of events. It returns an [ErrDamaged] with the first damage that it found, or an [ErrInUse] if
// the store is open; only calls of Check may run at the same time. Any goroutine may call it.
func (s *Store) Check() (events int, err error) {
	events, err = s.verify(filepath.Join(s.Dir, fileName), false)
	if err != nil {
		err = fmt.Errorf("alldata: %s: %w", s.Dir, err)
	}
	return events, err
}

// verify verifies the file at path while no other process writes to it. If it returns no error,
// bbolt can read the file safely; bbolt itself trusts the file and would follow offsets out of
// bounds and pages in circles.
func (s *Store) verify(path string, mend bool) (events int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	metas := readMetas(f)
	// Without this check bbolt.Open would fail with an unclear error, or read beyond the end.
	if err := checkSize(f, metas[:]...); err != nil {
		return 0, err
	}
	lock, err := bbolt.Open(path, 0, s.options(true)) // it reads only the meta pages
	if err != nil {
		return 0, openError(err)
	}
	defer lock.Close()
	st, err := readState(f)
	if err != nil {
		return 0, err
	}
	if err := checkSize(f, *st.meta); err != nil {
		return 0, err
	}
	events, err = verifyPages(f, st.meta, !s.SkipVerify)
	switch {
	case err != nil || st.mend == 0:
		return events, err
	case !mend:
		return events, damaged("the head of its newest state is overwritten; Open mends it")
	}
	return events, writeState(path, st)
}

// writeState writes the missing meta page of st, as computed from the other one. The commit in Open
// then confirms it.
func writeState(path string, st state) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(st.meta[:], st.mend)
	return errors.Join(err, f.Close())
}

func wrongVersion(v []byte) error {
	return fmt.Errorf("%s is of version %.20q; this program reads %s", fileName, v, version)
}
