package alldata

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// heads is a file that has only these two meta pages. It may be long.
type heads struct {
	pageSize int64
	metas    [2]meta
	size     int64
}

func (h *heads) ReadAt(p []byte, at int64) (n int, err error) {
	for ; n < len(p) && at < h.size; n, at = n+1, at+1 {
		p[n] = 0
		for i := range h.metas {
			if in := at - int64(i)*h.pageSize - pageHead; in >= 0 && in < metaSize {
				p[n] = h.metas[i][in]
			}
		}
	}
	if n < len(p) {
		err = io.EOF
	}
	return n, err
}

// made returns a meta page with this transaction, and other numbers that come from seed.
func made(pageSize uint32, tx, seed uint64) (m meta) {
	order := binary.NativeEndian
	order.PutUint32(m[:], metaMagic)
	order.PutUint32(m[4:], metaVersion)
	order.PutUint32(m[metaPageSize:], pageSize)
	for at := metaRoot; at < metaTx; at += 8 {
		seed = seed*6364136223846793005 + 1442695040888963407
		order.PutUint64(m[at:], seed)
	}
	order.PutUint64(m[metaTx:], tx)
	order.PutUint64(m[metaSum:], m.sum())
	return m
}

// FuzzReadState checks three things. Damage to the newest state's meta page never brings up the
// state before. Damage to the older meta page does not matter. A meta page that was partly written
// leads to the state before or to the one that was being written. Damage that changes the
// transaction by two, and something else too, looks like a page that was partly written.
func FuzzReadState(f *testing.F) {
	f.Add(uint8(0), uint64(7), uint64(1), false, metaSum, []byte{1, 2, 3}, metaSize)
	f.Add(uint8(2), uint64(256), uint64(0), true, metaTx, []byte{0xfe, 0}, metaTx+1)
	f.Add(uint8(14), uint64(2), uint64(9), true, metaPageSize, []byte{0, 0, 1, 0}, 20)
	f.Add(uint8(1), ^uint64(0), uint64(9), true, 0, make([]byte, 8), 0)
	f.Fuzz(func(t *testing.T, exp uint8, tx, seed uint64, newer bool, at int, damage []byte, part int) {
		if exp %= 15; tx < 1 || len(damage) > 8 || at < 0 || at > metaSize-len(damage) || part < 0 || part > metaSize {
			return
		}
		size := uint32(minPageSize) << exp
		slot := int(tx % 2)
		h := &heads{pageSize: int64(size), size: 2 * int64(size)}
		whole := [2]meta{made(size, tx-1, seed), made(size, tx, seed+1)}
		h.metas[1-slot], h.metas[slot] = whole[0], whole[1]
		if st, err := readState(h); err != nil || st.mend != 0 || *st.meta != whole[1] {
			t.Fatalf("readState() = %v, %v, want transaction %d", st, err, tx)
		}

		hit := slot
		if !newer {
			hit = 1 - slot
		}
		before := h.metas[hit].u64(metaTx)
		copy(h.metas[hit][at:], damage)
		if off := h.metas[hit].u64(metaTx) - before; (off == 2 || off == ^uint64(1)) && (at < metaTx || at+len(damage) > metaSum) {
			return
		}
		st, err := readState(h)
		switch {
		case err != nil:
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("readState() = %v, want ErrDamaged", err)
			}
		case !st.meta.valid() || st.meta.u64(metaTx) != tx, !newer && *st.meta != whole[1]:
			t.Errorf("with %x at %d of %x: %v, want transaction %d", damage, at, whole, st, tx)
		case st.mend != 0 && (!newer || st.mend != int64(hit)*int64(size)+pageHead):
			t.Errorf("with %x at %d of %x it writes at %d", damage, at, whole, st.mend)
		}

		h.metas[slot], h.metas[1-slot] = whole[1], whole[0]
		next := made(size, tx+1, seed+2)
		copy(h.metas[1-slot][:part], next[:])
		switch st, err := readState(h); {
		case err != nil:
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("readState() = %v, want ErrDamaged", err)
			}
		case *st.meta != whole[1] && *st.meta != next:
			t.Errorf("with %d bytes of transaction %d: %v", part, tx+1, st)
		}
	})
}

// FuzzRead checks that a verifier returns what is in the file, wherever it has read before, that
// its window is no longer than necessary, and that reading past the end is an ErrDamaged.
func FuzzRead(f *testing.F) {
	f.Add([]byte("0123456789"), uint8(4), []byte{0, 4, 1, 2, 3, 4, 8, 2, 8, 3, 0, 10, 0, 11})
	f.Add([]byte(nil), uint8(1), []byte{0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, file []byte, pageSize uint8, reads []byte) {
		v := &verifier{f: bytes.NewReader(file), pageSize: int64(pageSize)}
		most := int(pageSize)
		for r := range slices.Chunk(reads, 2) {
			if len(r) < 2 {
				return
			}
			at, n := int(r[0]), int(r[1])
			got, err := v.read(int64(at), n)
			switch {
			case at+n <= len(file):
				if err != nil || !bytes.Equal(got, file[at:at+n]) {
					t.Fatalf("read(%d, %d) = %q, %v, want %q", at, n, got, err, file[at:at+n])
				}
			case n > 0 && !errors.Is(err, ErrDamaged):
				t.Fatalf("read(%d, %d) = %q, %v of %d bytes, want ErrDamaged", at, n, got, err, len(file))
			}
			if most = max(most, n); len(v.window) > most {
				t.Fatalf("a window of %d bytes for %d", len(v.window), n)
			}
		}
	})
}

// FuzzVerify checks that a file which is damaged in one place either has what was put or is found
// to be damaged, and that it is never read beyond its end or in circles.
func FuzzVerify(f *testing.F) {
	free, page := freelist(), leaf(4, event("a", "1"), event("b", "22"), event("c", "333"))
	image := store(3, free, page)
	if n, err := checkImage(image, true); n != 3 || err != nil {
		f.Fatal(n, err)
	}
	f.Add(2*testPage, []byte{2})
	f.Add(3*testPage+pageHead, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add(4*testPage+12, []byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, at int, damage []byte) {
		if at < 2*testPage || at > len(image)-len(damage) || len(damage) > 8 {
			return
		}
		b := bytes.Clone(image)
		copy(b[at:], damage)
		for _, seals := range []bool{true, false} {
			n, err := checkImage(b, seals)
			if err == nil && n != 3 || err != nil && !errors.Is(err, ErrDamaged) && !strings.Contains(err.Error(), "is of version") {
				t.Errorf("with %x at %d: %d events, %v", damage, at, n, err)
			}
		}
	})
}
