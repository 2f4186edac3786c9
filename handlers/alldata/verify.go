package alldata

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
	"slices"
)

// A page of bbolt begins with its number of 8 bytes, flags and count of 2, and overflow of 4: how
// many pages it takes more. Then come its count elements, of a branch position, length of the key
// and page, of a leaf flags, position and the lengths of key and value; then keys and values, which
// follow on each other in the order of the elements.
const (
	pageHead    = 16
	elementSize = 16

	branchPage   = 1
	leafPage     = 2
	freelistPage = 16

	bucketFlag = 1 // of an element whose value is a bucket

	bucketHead = 16 // root and sequence; a small bucket has its only page after them, and root 0
)

// verifier reads a file as bbolt does, but trusts nothing of it: not to lead in circles, not beyond
// the end, and not to other lengths than are there.
type verifier struct {
	f        io.ReaderAt
	pageSize int64
	pages    uint64   // how many there are
	seals    bool     // read the events too
	used     []uint64 // a bit for each page
	left     uint64   // pages that nothing uses

	window   []byte // of the file
	windowAt int64

	events    uint64
	versioned bool // the version was there
}

// verifyPages holds every page of a state to what bbolt writes: each is in use once or free, all
// keys are in order and where the branches say; and, if seals is set, each event has its checksum.
// It returns the number of events.
func verifyPages(f io.ReaderAt, m *meta, seals bool) (events int, err error) {
	v := &verifier{f: f, pageSize: m.pageSize(), pages: m.u64(metaPages), seals: seals}
	v.used, v.left = make([]uint64, v.pages/64+1), v.pages-2 // but for the heads
	if err := v.freelist(m.u64(metaFreelist)); err != nil {
		return 0, err
	}
	if err := v.buckets(m.u64(metaRoot)); err != nil {
		return 0, err
	}
	if v.left > 0 {
		return 0, damaged("%d of its pages are neither in use nor free", v.left)
	}
	return int(v.events), nil
}

// read returns n bytes of the file, until the next call.
func (v *verifier) read(at int64, n int) ([]byte, error) {
	if at < v.windowAt || at+int64(n) > v.windowAt+int64(len(v.window)) {
		size := max(n, int(v.pageSize))
		v.window, v.windowAt = slices.Grow(v.window[:0], size)[:size], at
		got, err := v.f.ReadAt(v.window, at)
		v.window = v.window[:got]
		if got < n {
			v.window = v.window[:0]
			if errors.Is(err, io.EOF) {
				return nil, damaged("it ends where more should be")
			}
			return nil, fmt.Errorf("%s: %w", fileName, err)
		}
	}
	return v.window[at-v.windowAt:][:n], nil
}

// claim marks n pages from id on as used.
func (v *verifier) claim(id, n uint64) error {
	if last, over := bits.Add64(id, n-1, 0); id < 2 || over != 0 || last >= v.pages {
		return damaged("page %d and the %d after it are not in it: it has %d", id, n-1, v.pages)
	}
	for ; n > 0; id, n = id+1, n-1 {
		if v.used[id/64]>>(id%64)&1 != 0 {
			return damaged("page %d is used twice", id)
		}
		v.used[id/64] |= 1 << (id % 64)
		v.left--
	}
	return nil
}

// page is the head of a page.
type page struct {
	id    uint64
	at    int64 // in the file
	end   int64 // that of the room it has
	flags uint16
	count int
}

// page reads the head of the page id.
func (v *verifier) page(id uint64) (p page, err error) {
	if id >= v.pages {
		return page{}, damaged("there is no page %d", id)
	}
	at := int64(id) * v.pageSize
	b, err := v.read(at, pageHead)
	if err != nil {
		return page{}, err
	}
	p, overflow := head(b, at)
	if p.id != id {
		return page{}, damaged("page %d says that it is %d", id, p.id)
	}
	p.end = at + (overflow+1)*v.pageSize
	return p, v.claim(id, uint64(overflow)+1)
}

func head(b []byte, at int64) (p page, overflow int64) {
	order := binary.NativeEndian
	return page{id: order.Uint64(b), at: at, flags: order.Uint16(b[8:]), count: int(order.Uint16(b[10:]))},
		int64(order.Uint32(b[12:]))
}

// freelist claims the free pages, whose numbers the page id has in order.
func (v *verifier) freelist(id uint64) error {
	p, err := v.page(id)
	if err != nil {
		return err
	}
	if p.flags != freelistPage {
		return damaged("page %d is not the list of free pages", id)
	}
	at, n := p.at+pageHead, uint64(p.count)
	if n == 0xFFFF { // and more: how many stands before them
		b, err := v.read(at, 8)
		if err != nil {
			return err
		}
		at, n = at+8, binary.NativeEndian.Uint64(b)
	}
	if n > uint64(p.end-at)/8 {
		return damaged("page %d has no room for the %d free pages that it lists", id, n)
	}
	for last := uint64(0); n > 0; at, n = at+8, n-1 {
		b, err := v.read(at, 8)
		if err != nil {
			return err
		}
		free := binary.NativeEndian.Uint64(b)
		if free <= last {
			return damaged("the free pages are not in order: %d, %d", last, free)
		}
		if err := v.claim(free, 1); err != nil {
			return err
		}
		last = free
	}
	return nil
}

// buckets verifies the two buckets of a store.
func (v *verifier) buckets(root uint64) error {
	var names []string
	top := walker{v: v, leaf: func(key []byte, e element) error {
		names = append(names, string(key))
		if e.flags != bucketFlag {
			return damaged("it has %.20q, which is not of a store", key)
		}
		return v.bucket(string(key), e)
	}}
	if err := top.walk(root); err != nil {
		return err
	}
	if !slices.Equal(names, []string{string(formatBucket), string(eventsBucket)}) {
		return damaged("it is not a file of alldata")
	}
	return nil
}

// bucket verifies the bucket that is the value of e.
func (v *verifier) bucket(name string, e element) error {
	if e.vsize < bucketHead {
		return damaged("the bucket %q has %d bytes", name, e.vsize)
	}
	b, err := v.read(e.value, bucketHead)
	if err != nil {
		return err
	}
	root, sequence := binary.NativeEndian.Uint64(b), binary.NativeEndian.Uint64(b[8:])
	w := walker{v: v, leaf: v.event}
	if name == string(formatBucket) {
		w.leaf = v.format
	}
	if root == 0 {
		err = w.inline(e)
	} else if err = w.walk(root); err == nil && e.vsize != bucketHead {
		err = damaged("the bucket %q has %d bytes", name, e.vsize)
	}
	if err == nil && !v.versioned { // the bucket of the version is the first
		err = wrongVersion(nil)
	}
	if err == nil && name == string(eventsBucket) && sequence != v.events {
		err = damaged("it has %d events, and should have %d", v.events, sequence)
	}
	return err
}

// format holds the version to that of this package.
func (v *verifier) format(key []byte, e element) error {
	if string(key) != string(versionKey) {
		return damaged("it has %.20q where its version should be", key)
	}
	v.versioned = true
	b, err := v.read(e.value, int(min(e.vsize, 20)))
	if err == nil && !bytes.Equal(b, version) {
		return wrongVersion(b)
	}
	return err
}

// event verifies the seal of one.
func (v *verifier) event(key []byte, e element) error {
	v.events++
	if e.flags != 0 {
		return damaged("the entry %.100q is not an event", key)
	}
	if !v.seals {
		return nil
	}
	sum := crc32.Checksum(key, castagnoli)
	b, err := v.read(e.value, sealSize)
	if err != nil {
		return err
	}
	want := binary.BigEndian.Uint32(b)
	for at, end := e.value+sealSize, e.value+e.vsize; at < end; {
		b, err := v.read(at, int(min(end-at, 64<<10)))
		if err != nil {
			return err
		}
		sum = crc32.Update(sum, castagnoli, b)
		at += int64(len(b))
	}
	if sum != want {
		return errSeal(string(key))
	}
	return nil
}
