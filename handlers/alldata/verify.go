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

// A bbolt page begins with its number (8 bytes), flags and count (2 bytes each), and overflow (4
// bytes), the number of pages that follow it as a part of it. Next come count elements. An element
// of a branch has the position of its key, the key's length, and a page; one of a leaf has flags, a
// position, and the lengths of key and value. Keys and values come last, in the order of the
// elements and without gaps.
const (
	pageHead    = 16
	elementSize = 16

	branchPage   = 1
	leafPage     = 2
	freelistPage = 16

	bucketFlag = 1 // set in an element whose value is a bucket

	// bucketHead is the size of a root and a sequence. A small bucket has root 0, and its only page
	// follows.
	bucketHead = 16
)

// verifier reads a file as bbolt does, but checks each offset, length and page number first.
type verifier struct {
	f        io.ReaderAt
	pageSize int64
	pages    uint64   // the number of pages in the file
	seals    bool     // also verify the checksums of events
	used     []uint64 // a bit for each page
	left     uint64   // the number of pages that were not claimed yet

	window   []byte // a part of the file, from windowAt on
	windowAt int64

	events    uint64
	versioned bool // the version was found
}

// verifyPages verifies that every page of a state is as bbolt writes it: used once or free, with
// its keys in order and where the branches say. If seals is set, it also verifies the checksum of
// each event. It returns the number of events.
func verifyPages(f io.ReaderAt, m *meta, seals bool) (events int, err error) {
	v := &verifier{f: f, pageSize: m.pageSize(), pages: m.u64(metaPages), seals: seals}
	v.used, v.left = make([]uint64, v.pages/64+1), v.pages-2 // all but the two meta pages
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

// read returns n bytes at the offset at, which are valid until the next call.
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

// claim marks the n pages from id on as used.
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

// page is the header of a page.
type page struct {
	id    uint64
	at    int64 // offset in the file
	end   int64 // end of the room that it has
	flags uint16
	count int
}

// page reads the header of page id, and claims its pages.
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

// freelist claims the free pages, whose numbers are in page id, in order.
func (v *verifier) freelist(id uint64) error {
	p, err := v.page(id)
	if err != nil {
		return err
	}
	if p.flags != freelistPage {
		return damaged("page %d is not the list of free pages", id)
	}
	at, n := p.at+pageHead, uint64(p.count)
	if n == 0xFFFF { // then the first number is the count
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

// buckets verifies the two buckets of a store, which are below root.
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

// bucket verifies the bucket in the value of e.
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
	if err == nil && !v.versioned { // the bucket with the version comes first
		err = wrongVersion(nil)
	}
	if err == nil && name == string(eventsBucket) && sequence != v.events {
		err = damaged("it has %d events, and should have %d", v.events, sequence)
	}
	return err
}

// format verifies that the file has the version of this package.
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

// event verifies the checksum of an event.
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
