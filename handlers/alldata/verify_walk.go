package alldata

import (
	"bytes"
	"encoding/binary"
)

// A walker verifies the tree of pages of a bucket, and that its keys are in order.
type walker struct {
	v    *verifier
	leaf func(key []byte, e element) error // called for each entry of a leaf

	last  []byte // the previous key
	first []byte // the key that must come next, as a branch says; nil if none does
	depth int
}

// maxDepth is greater than the depth of any tree, as each branch has at least two pages.
const maxDepth = 64

// element is an entry of a leaf or a branch. key and value are offsets in the file.
type element struct {
	flags        uint32 // of a leaf
	child        uint64 // of a branch
	key, value   int64
	ksize, vsize int64
}

// walk verifies page id and those below it.
func (w *walker) walk(id uint64) error {
	if w.depth++; w.depth > maxDepth {
		return damaged("its pages are %d deep", w.depth)
	}
	defer func() { w.depth-- }()
	p, err := w.v.page(id)
	if err != nil {
		return err
	}
	var end int64
	switch p.flags {
	case leafPage:
		end, err = w.entries(p)
	case branchPage:
		end, err = w.children(p)
	default:
		err = damaged("page %d is neither a leaf nor a branch", id)
	}
	if err == nil && p.end-end >= w.v.pageSize {
		err = damaged("page %d has more pages than it fills", id)
	}
	return err
}

// inline verifies a bucket that has its only page in the value of e.
func (w *walker) inline(e element) error {
	at := e.value + bucketHead
	if e.vsize < bucketHead+pageHead {
		return damaged("a bucket of %d bytes has no page", e.vsize)
	}
	b, err := w.v.read(at, pageHead)
	if err != nil {
		return err
	}
	p, overflow := head(b, at)
	p.end = e.value + e.vsize
	if p.id != 0 || p.flags != leafPage || overflow != 0 {
		return damaged("the page of a bucket has another head")
	}
	end, err := w.entries(p)
	if err == nil && end != p.end {
		err = damaged("a bucket has %d bytes more than it fills", p.end-end)
	}
	return err
}

// entries verifies the entries of a leaf. It returns the offset at which the last one ends.
func (w *walker) entries(p page) (end int64, err error) {
	end = p.at + pageHead + elementSize*int64(p.count)
	for i := range p.count {
		e, err := w.element(p, i, end)
		if err != nil {
			return 0, err
		}
		if err := w.next(e); err != nil {
			return 0, err
		}
		if err := w.leaf(w.last, e); err != nil {
			return 0, err
		}
		end = e.value + e.vsize
	}
	return end, nil
}

// next reads the key of e and verifies that it may come next.
func (w *walker) next(e element) error {
	key, err := w.v.read(e.key, int(e.ksize))
	switch {
	case err != nil:
		return err
	case bytes.Compare(key, w.last) <= 0: // also if the key is empty
		return damaged("the key %.100q is not greater than the one before it, %.100q", key, w.last)
	case w.first != nil && !bytes.Equal(key, w.first):
		return damaged("the key %.100q is where its branch has %.100q", key, w.first)
	}
	w.last, w.first = append(w.last[:0], key...), nil
	return nil
}

// children verifies the pages below a branch. It returns the offset at which the branch's last key
// ends.
func (w *walker) children(p page) (end int64, err error) {
	if p.count == 0 {
		return 0, damaged("page %d is a branch without pages", p.id)
	}
	end = p.at + pageHead + elementSize*int64(p.count)
	for i := range p.count {
		e, err := w.element(p, i, end)
		if err != nil {
			return 0, err
		}
		key, err := w.v.read(e.key, int(e.ksize))
		switch {
		case err != nil:
			return 0, err
		case w.first != nil && !bytes.Equal(key, w.first):
			return 0, damaged("the branch %.100q is where the one above has %.100q", key, w.first)
		}
		w.first = bytes.Clone(key)
		if err := w.walk(e.child); err != nil {
			return 0, err
		}
		if w.first != nil {
			return 0, damaged("nothing is below the branch %.100q", w.first)
		}
		end = e.value
	}
	return end, nil
}

// element reads the i-th element of a page, whose key must be at end.
func (w *walker) element(p page, i int, end int64) (element, error) {
	at := p.at + pageHead + elementSize*int64(i)
	b, err := w.v.read(at, elementSize)
	if err != nil {
		return element{}, err
	}
	order := binary.NativeEndian
	e, pos := element{key: end}, order.Uint32(b)
	if p.flags == leafPage {
		e.flags, pos = pos, order.Uint32(b[4:])
		e.ksize, e.vsize = int64(order.Uint32(b[8:])), int64(order.Uint32(b[12:]))
	} else {
		e.ksize, e.child = int64(order.Uint32(b[4:])), order.Uint64(b[8:])
	}
	e.value = e.key + e.ksize
	if at+int64(pos) != end || e.ksize > MaxKeySize || e.value+e.vsize > p.end {
		return element{}, damaged("entry %d of page %d is not where it should be", i, p.id)
	}
	return e, nil
}
