package alldata

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"math/bits"
	"os"
)

// A meta is one of the two meta pages of a bbolt file, without its page header. A commit overwrites
// the older of the two, so that a crash leaves the other intact. Integers are in the machine's byte
// order: magic, version, page size and flags have 4 bytes each; root, its sequence, freelist,
// number of pages, transaction and the checksum of all these have 8 bytes each.
type meta [metaSize]byte

const (
	metaSize     = 64
	metaMagic    = 0xED0CDAED
	metaVersion  = 2
	metaPageSize = 8
	metaRoot     = 16
	metaFreelist = 32
	metaPages    = 40
	metaTx       = 48
	metaSum      = 56

	minPageSize = 1 << 10 // bbolt looks for the second meta page from this offset
	maxPageSize = 1 << 24 // to this one
)

func (m *meta) u64(at int) uint64 { return binary.NativeEndian.Uint64(m[at:]) }

func (m *meta) pageSize() int64 { return int64(binary.NativeEndian.Uint32(m[metaPageSize:])) }

// size returns how long the file must be, in bytes, to hold all pages that m counts.
func (m *meta) size() uint64 {
	high, low := bits.Mul64(max(m.u64(metaPages), 2), uint64(m.pageSize()))
	if high != 0 {
		return math.MaxUint64
	}
	return low
}

func (m *meta) sum() uint64 {
	h := fnv.New64a()
	h.Write(m[:metaSum])
	return h.Sum64()
}

// valid reports whether bbolt accepts m and can work with its page size.
func (m *meta) valid() bool {
	order, size := binary.NativeEndian, m.pageSize()
	return order.Uint32(m[:]) == metaMagic && order.Uint32(m[4:]) == metaVersion && m.sum() == m.u64(metaSum) &&
		size >= minPageSize && size <= maxPageSize && size&(size-1) == 0
}

// sealed returns m with the constants of valid, the transaction tx and a matching checksum.
func (m *meta) sealed(valid *meta, tx uint64) *meta {
	s := *m
	copy(s[:metaRoot], valid[:])
	binary.NativeEndian.PutUint64(s[metaTx:], tx)
	binary.NativeEndian.PutUint64(s[metaSum:], s.sum())
	return &s
}

// state is the newest state of a file, as its meta pages describe it.
type state struct {
	meta *meta
	mend int64 // the offset where meta must be written first; 0 if the file has it already
}

// readState finds the newest state. If both meta pages are valid, that is the state of the later
// transaction. If one is not valid, a crash cut it short or something damaged it later. A damaged
// one may have held the newest state; then the other's state lacks events that were acknowledged,
// and readState returns an [ErrDamaged] unless it can restore that page.
func readState(f io.ReaderAt) (state, error) {
	metas := readMetas(f)
	newest, other := 0, 1
	switch {
	case !metas[0].valid():
		newest, other = 1, 0
	case !metas[1].valid():
	case metas[1].u64(metaTx) > metas[0].u64(metaTx):
		return state{meta: &metas[1]}, nil
	default:
		return state{meta: &metas[0]}, nil
	}
	valid, m := &metas[newest], &metas[other]
	tx := valid.u64(metaTx)
	later := m.sealed(valid, tx+1)
	switch written := m.u64(metaTx); {
	case m.u64(metaSum) == m.sealed(valid, tx-1).u64(metaSum), written == tx-1 && m.u64(metaSum) != later.u64(metaSum):
		return state{meta: valid}, nil // the invalid page was the older one
	case m.u64(metaSum) == later.u64(metaSum), written == tx+1:
		// verifyPages checks that the pages fit it.
		return state{later, int64(other)*valid.pageSize() + pageHead}, nil
	}
	return state{}, damaged("head %d is overwritten: the newest events may be missing", other)
}

// readMetas reads the two meta pages. If checkSize returns nil, at least one of them is valid.
func readMetas(f io.ReaderAt) (metas [2]meta) {
	read := func(m *meta, page int64) bool {
		_, err := f.ReadAt(m[:], page+pageHead)
		return err == nil && m.valid()
	}
	if read(&metas[0], 0) {
		read(&metas[1], metas[0].pageSize())
		return metas
	}
	for size := int64(minPageSize); size <= maxPageSize; size *= 2 {
		if read(&metas[1], size) && metas[1].pageSize() == size {
			break
		}
	}
	return metas
}

// checkSize returns an error if the file has no valid meta page, or was cut off; bbolt would read
// beyond its end. Another process may be writing the file: it grows before a meta page counts the
// new pages.
func checkSize(f *os.File, metas ...meta) error {
	var need uint64
	for _, m := range metas {
		if m.valid() {
			need = max(need, m.size())
		}
	}
	size, err := f.Seek(0, io.SeekEnd)
	switch {
	case err != nil:
		return err
	case need == 0:
		return damaged("it has no valid head: it is not a store, or was overwritten")
	case uint64(size) < need:
		return damaged("it was cut off: it has %d bytes, and should have %d", size, need)
	}
	return nil
}

// damaged returns an [ErrDamaged] about the file.
func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", ErrDamaged, fileName, fmt.Sprintf(format, args...))
}
