package alldata

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"go.etcd.io/bbolt"
)

// The file of a store, and the names of those that are not finished.
const (
	fileName = "alldata.db"
	newNames = "new-*.db"
)

// create makes dir and the file at path, if they are not there: under another name first, so that a
// crash leaves no half of one behind, and so that of two processes one makes it.
func create(dir, path string) error {
	if dir == "" {
		return errors.New("there is no directory for the store")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if exists(path) {
		return nil
	}
	f, err := os.CreateTemp(dir, newNames)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := f.Close(); err != nil {
		return err
	}
	if err := initialize(f.Name()); err != nil {
		return err
	}
	if err := publish(f.Name(), path); err != nil {
		return err
	}
	return syncDirs(dir)
}

// publish gives the file from the name path too, if there is none of that name.
func publish(from, path string) error {
	if os.Link(from, path) == nil || exists(path) {
		return nil
	}
	return os.Rename(from, path) // on a file system without links
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// place is where an open file is to be found.
type place struct {
	path string
	info os.FileInfo
}

// check returns ErrGone unless the file still has its name.
func (p *place) check() error {
	info, err := os.Stat(p.path)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrGone, err)
	case !os.SameFile(info, p.info):
		return fmt.Errorf("%w: there is another one", ErrGone)
	}
	return nil
}

// noRoom are the errors of a file that cannot grow: the disk is full, its owner may not have more,
// or the file may not be larger, on this file system or in this process (RLIMIT_FSIZE).
func noRoom() []syscall.Errno {
	if runtime.GOOS == "windows" { // ERROR_HANDLE_DISK_FULL, ERROR_DISK_FULL, ERROR_FILE_TOO_LARGE, ERROR_DISK_QUOTA_EXCEEDED
		return []syscall.Errno{39, 112, 223, 1295}
	}
	return []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG}
}

// isFull reports whether err says that there is no room for a file to grow.
func isFull(err error) bool {
	return errors.Is(err, ErrFull) || slices.ContainsFunc(noRoom(), func(e syscall.Errno) bool { return errors.Is(err, e) })
}

// full makes an ErrFull of an error of bbolt's that is one. bbolt tells some by their text only.
func full(err error) error {
	text := err.Error()
	if isFull(err) || slices.ContainsFunc(noRoom(), func(e syscall.Errno) bool { return strings.Contains(text, e.Error()) }) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// initialize makes an empty store at path.
func initialize(path string) error {
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		if _, err := tx.CreateBucket(eventsBucket); err != nil {
			return err
		}
		b, err := tx.CreateBucket(formatBucket)
		if err != nil {
			return err
		}
		return b.Put(versionKey, version)
	})
	return errors.Join(err, db.Close())
}

// syncDirs makes the names of dir, and its own, last.
func syncDirs(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // where directories cannot be synced, and need not be
	}
	for _, name := range []string{dir, filepath.Dir(filepath.Clean(dir))} {
		d, err := os.Open(name)
		if err != nil {
			return err
		}
		err = d.Sync()
		d.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// sweep removes what processes that were killed while they made a store have left.
func sweep(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, newNames))
	for _, name := range left {
		_ = os.Remove(name)
	}
}
