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

// The file of a store, and the pattern of the files that create has not finished.
const (
	fileName = "alldata.db"
	newNames = "new-*.db"
)

// create makes dir and the file at path unless they exist. It writes the file under another name
// first, so that a crash leaves no partial file, and only one of several processes makes it.
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

// publish gives the file from the name path unless that name exists.
func publish(from, path string) error {
	if os.Link(from, path) == nil || exists(path) {
		return nil
	}
	return os.Rename(from, path) // the file system has no links
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// A place is the path of an open file, and what identifies the file there.
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

// noRoom returns the errors that mean that a file cannot grow: the disk is full, its owner's quota
// is used up, or the file system or the process (RLIMIT_FSIZE) limits its size.
func noRoom() []syscall.Errno {
	// ERROR_HANDLE_DISK_FULL, ERROR_DISK_FULL, ERROR_FILE_TOO_LARGE, ERROR_DISK_QUOTA_EXCEEDED
	if runtime.GOOS == "windows" {
		return []syscall.Errno{39, 112, 223, 1295}
	}
	return []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG}
}

// isFull reports whether err means that a file has no room to grow.
func isFull(err error) bool {
	return errors.Is(err, ErrFull) || slices.ContainsFunc(noRoom(), func(e syscall.Errno) bool { return errors.Is(err, e) })
}

// full wraps an error of bbolt in ErrFull if it means that there is no room. bbolt keeps only the
// text of some errors.
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

// syncDirs syncs dir and its parent, so that the names of the files and of dir survive a crash.
func syncDirs(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // directories cannot be synced there, and need not be
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

// sweep removes the unfinished files of processes that were killed while they made a store.
func sweep(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, newNames))
	for _, name := range left {
		_ = os.Remove(name)
	}
}
