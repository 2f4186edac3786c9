package alldata

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"

	"go.etcd.io/bbolt"
)

// The file of a store, and the names of those that are not finished.
const (
	fileName = "alldata.db"
	newNames = "new-*.db"
)

// create makes dir and the file at path, if they are not there: under another name first, so that a crash leaves no half
// of one behind, and so that of two processes one makes it.
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
	if os.Link(f.Name(), path) != nil && !exists(path) { // a file system without links
		if err := os.Rename(f.Name(), path); err != nil && !exists(path) {
			return err
		}
	}
	return syncDirs(dir)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// initialize makes an empty store.
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

// bbolt's meta page, in the machine's byte order, after the 16 bytes of a page's head: magic, version, pageSize and flags
// of 4 bytes; root, its sequence, freelist, pgid (the number of pages), txid and the checksum of what is before, of 8.
const (
	metaAt    = 16
	metaSize  = 64
	metaMagic = 0xED0CDAED
)

// checkSize finds a file that was cut off, which bbolt would read past the end of.
func checkSize(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	need, ok := pagesNeed(f, fi.Size())
	switch {
	case !ok:
		return fmt.Errorf("%w: %s has no valid head: it is not a store, or was overwritten", ErrDamaged, fileName)
	case fi.Size() < need:
		return fmt.Errorf("%w: %s was cut off: it has %d bytes, and should have %d", ErrDamaged, fileName, fi.Size(), need)
	}
	return nil
}

// pagesNeed is the size of the pages that the newest valid meta page speaks of.
func pagesNeed(f io.ReaderAt, size int64) (need int64, ok bool) {
	var newest uint64
	look := func(at int64) (pageSize int64) {
		var b [metaSize]byte
		if _, err := f.ReadAt(b[:], at+metaAt); err != nil {
			return 0
		}
		order := binary.NativeEndian
		sum := fnv.New64a()
		sum.Write(b[:metaSize-8])
		if order.Uint32(b[:]) != metaMagic || order.Uint64(b[metaSize-8:]) != sum.Sum64() {
			return 0
		}
		pageSize = int64(order.Uint32(b[8:]))
		if txid := order.Uint64(b[48:]); pageSize > 0 && (!ok || txid > newest) {
			pages := min(order.Uint64(b[40:]), uint64(math.MaxInt64/pageSize))
			need, newest, ok = int64(pages)*pageSize, txid, true
		}
		return pageSize
	}
	if pageSize := look(0); pageSize > 0 {
		look(pageSize)
		return need, ok
	}
	for at := int64(1024); at < size && at <= 1024<<14 && !ok; at *= 2 {
		look(at)
	}
	return need, ok
}
