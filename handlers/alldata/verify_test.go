package alldata

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
)

const testPage = 1 << 10

// entry is an entry of a page that a test makes: of a branch if child is set, of a leaf otherwise.
type entry struct {
	key, value string
	flags      uint32
	child      uint64
}

// event returns an entry with a sealed event.
func event(key, event string) entry { return entry{key: key, value: string(seal(key, []byte(event)))} }

// bytesOf returns a page of entries, as long as they need.
func bytesOf(id uint64, flags uint16, entries ...entry) []byte {
	order := binary.NativeEndian
	head := order.AppendUint16(order.AppendUint64(nil, id), flags)
	head = order.AppendUint32(order.AppendUint16(head, uint16(len(entries))), 0)
	var data []byte
	for i, e := range entries {
		pos := uint32((len(entries)-i)*elementSize + len(data))
		if flags == branchPage {
			head = order.AppendUint64(order.AppendUint32(order.AppendUint32(head, pos), uint32(len(e.key))), e.child)
		} else {
			head = order.AppendUint32(order.AppendUint32(head, e.flags), pos)
			head = order.AppendUint32(order.AppendUint32(head, uint32(len(e.key))), uint32(len(e.value)))
		}
		data = append(append(data, e.key...), e.value...)
	}
	return append(head, data...)
}

// filled pads b to whole pages.
func filled(b []byte) []byte {
	more := (len(b)+testPage-1)/testPage - 1
	binary.NativeEndian.PutUint32(b[12:], uint32(more))
	return append(b, make([]byte, (more+1)*testPage-len(b))...)
}

// freelist returns the page that lists the free pages ids.
func freelist(ids ...uint64) []byte {
	b := bytesOf(2, freelistPage)
	binary.NativeEndian.PutUint16(b[10:], uint16(len(ids)))
	for _, id := range ids {
		b = binary.NativeEndian.AppendUint64(b, id)
	}
	return b
}

// bucket returns the entry of a bucket with its own pages, or with an inline page.
func bucket(name string, root, sequence uint64, inline []byte) entry {
	head := binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, root), sequence)
	return entry{key: name, value: string(append(head, inline...)), flags: bucketFlag}
}

var formatEntry = bucket("alldata", 0, 1, bytesOf(0, leafPage, entry{key: "version", value: "1"}))

// store returns a file: the meta pages, the freelist as page 2, the root as page 3 with a bucket of
// events in page 4, and then pages.
func store(events uint64, free []byte, pages ...[]byte) []byte {
	b := append(make([]byte, 2*testPage), filled(free)...)
	b = append(b, filled(bytesOf(3, leafPage, formatEntry, bucket("events", 4, events, nil)))...)
	for _, p := range pages {
		b = append(b, p...)
	}
	return b
}

// checkImage verifies a file in memory whose newest state has all of its pages.
func checkImage(b []byte, seals bool) (int, error) {
	var m meta
	binary.NativeEndian.PutUint32(m[metaPageSize:], testPage)
	binary.NativeEndian.PutUint64(m[metaRoot:], 3)
	binary.NativeEndian.PutUint64(m[metaFreelist:], 2)
	binary.NativeEndian.PutUint64(m[metaPages:], uint64(len(b)/testPage))
	return verifyPages(bytes.NewReader(b), &m, seals)
}

func leaf(id uint64, entries ...entry) []byte { return filled(bytesOf(id, leafPage, entries...)) }

func branch(id uint64, entries ...entry) []byte { return filled(bytesOf(id, branchPage, entries...)) }

// set returns b with some bytes changed.
func set(b []byte, at int, value ...byte) []byte {
	copy(b[at:], value)
	return b
}

// sized returns an event that makes a leaf of one entry size bytes long.
func sized(size int) entry {
	return event("key", strings.Repeat("x", size-pageHead-elementSize-sealSize-len("key")))
}

func TestVerifyPages(t *testing.T) {
	a, b, c := event("a", "1"), event("b", "22"), event("c", "333")
	up := func(key string, child uint64) entry { return entry{key: key, child: child} }
	numbers := func(from, to uint64) (ids []uint64) {
		for ; from <= to; from++ {
			ids = append(ids, from)
		}
		return ids
	}
	blank := func(n int) []byte { return make([]byte, n*testPage) }
	most := uint64(testPage-pageHead) / 8 // free pages in a freelist of one page
	var deep [][]byte
	for i := range uint64(maxDepth) {
		deep = append(deep, branch(4+i, up("a", 5+i)))
	}
	counted := freelist(append([]uint64{most - 1}, numbers(5, 3+most)...)...)
	binary.NativeEndian.PutUint16(counted[10:], 0xffff)
	tests := []struct {
		name string
		file []byte
		n    int
		text string // of the error; no error if empty
	}{
		{"nothing", store(0, freelist(), leaf(4)), 0, ""},
		{"a leaf", store(2, freelist(), leaf(4, a, b)), 2, ""},
		{"a branch", store(3, freelist(), branch(4, up("a", 5), up("c", 6)), leaf(5, a, b), leaf(6, c)), 3, ""},
		{"two floors", store(3, freelist(), branch(4, up("a", 5), up("c", 6)), branch(5, up("a", 7), up("b", 8)), branch(6, up("c", 9)), leaf(7, a), leaf(8, b), leaf(9, c)), 3, ""},
		{"free pages", store(1, freelist(5, 7), leaf(4, a), blank(3)), 0, "1 of its pages are neither in use nor free"},
		{"all free pages", store(1, freelist(5, 6), leaf(4, a), blank(2)), 1, ""},
		{"a full list of them", store(1, freelist(numbers(5, 4+most)...), leaf(4, a), blank(int(most))), 1, ""},
		{"a full list with its length", store(1, counted, leaf(4, a), blank(int(most-1))), 1, ""},
		{"free pages out of order", store(1, freelist(6, 5), leaf(4, a), blank(2)), 0, "the free pages are not in order: 6, 5"},
		{"a free page twice", store(1, freelist(5, 5), leaf(4, a), blank(1)), 0, "the free pages are not in order: 5, 5"},
		{"a free page in use", store(1, freelist(4), leaf(4, a)), 0, "page 4 is used twice"},
		{"a free head", store(1, freelist(1), leaf(4, a)), 0, "page 1 and the 0 after it are not in it"},
		{"a free page behind the end", store(1, freelist(5), leaf(4, a)), 0, "page 5 and the 0 after it are not in it"},
		{"a free page far behind the end", store(1, freelist(1<<64-1), leaf(4, a)), 0, "are not in it"},
		{"no list of free pages", store(1, bytesOf(2, leafPage), leaf(4, a)), 0, "page 2 is not the list of free pages"},
		{"one that is too long", set(store(1, freelist(), leaf(4, a)), 2*testPage+10, byte(most+1), byte((most+1)>>8)), 0, "page 2 has no room"},
		{"an exact page", store(1, freelist(), leaf(4, sized(testPage))), 1, ""},
		{"a byte less", store(1, freelist(), leaf(4, sized(testPage-1))), 1, ""},
		{"a byte more than a page", store(1, freelist(), leaf(4, sized(testPage+1))), 1, ""},
		{"a long event", store(1, freelist(), leaf(4, sized(200*testPage))), 1, ""},
		{"a page more than it fills", append(store(1, freelist(), set(leaf(4, sized(testPage)), 12, 1)), blank(1)...), 0, "page 4 has more pages than it fills"},
		{"a page less than it fills", store(1, freelist(), set(leaf(4, sized(testPage+1)), 12, 0)), 0, "entry 0 of page 4 is not where it should be"},
		{"more pages than there are", store(1, freelist(), set(leaf(4, a), 12, 1)), 0, "page 4 and the 1 after it are not in it"},
		{"a page with another number", store(1, freelist(), leaf(5, a)), 0, "page 4 says that it is 5"},
		{"a page of another kind", store(1, freelist(), set(leaf(4, a), 8, 4)), 0, "page 4 is neither a leaf nor a branch"},
		{"a branch in a circle", store(1, freelist(), branch(4, up("a", 4))), 0, "page 4 is used twice"},
		{"a page twice", store(2, freelist(), branch(4, up("a", 5), up("b", 5)), leaf(5, a)), 0, "page 5 is used twice"},
		{"a branch to the end", store(1, freelist(), branch(4, up("a", 5))), 0, "there is no page 5"},
		{"a branch to a head", store(1, freelist(), branch(4, up("a", 0))), 0, "page 0 and the 0 after it are not in it"},
		{"an empty branch", store(0, freelist(), branch(4)), 0, "page 4 is a branch without pages"},
		{"an empty leaf below a branch", store(0, freelist(), branch(4, up("a", 5)), leaf(5)), 0, `nothing is below the branch "a"`},
		{"as deep as can be", store(1, freelist(), append(deep[:maxDepth-1:maxDepth-1], leaf(3+maxDepth, a))...), 1, ""},
		{"too deep", store(1, freelist(), append(deep, leaf(4+maxDepth, a))...), 0, "65 deep"},
		{"a branch with another key", store(2, freelist(), branch(4, up("a", 5), up("bb", 6)), leaf(5, a), leaf(6, b)), 0, `the key "b" is where its branch has "bb"`},
		{"a branch with another first key", store(2, freelist(), branch(4, up("0", 5), up("b", 6)), leaf(5, a), leaf(6, b)), 0, `the key "a" is where its branch has "0"`},
		{"a branch below with another key", store(2, freelist(), branch(4, up("0", 5)), branch(5, up("a", 6)), leaf(6, a)), 0, `the branch "a" is where the one above has "0"`},
		{"keys out of order", store(2, freelist(), leaf(4, b, a)), 0, `the key "a" is not greater than the one before it, "b"`},
		{"keys out of order in two leaves", store(3, freelist(), branch(4, up("a", 5), up("b", 6)), leaf(5, a, c), leaf(6, b)), 0, `the key "b" is not greater`},
		{"a key twice", store(2, freelist(), leaf(4, a, a)), 0, `the key "a" is not greater`},
		{"an empty key", store(1, freelist(), leaf(4, event("", "1"))), 0, `the key "" is not greater`},
		{"the longest key", store(1, freelist(), leaf(4, event(strings.Repeat("k", MaxKeySize), "1"))), 1, ""},
		{"a longer key", store(1, freelist(), leaf(4, event(strings.Repeat("k", MaxKeySize+1), "1"))), 0, "entry 0 of page 4 is not where it should be"},
		{"an entry out of place", store(1, freelist(), set(leaf(4, a), pageHead+4, 17)), 0, "entry 0 of page 4 is not where it should be"},
		{"an event with a flag", store(1, freelist(), leaf(4, entry{key: "a", value: a.value, flags: 1})), 0, `the entry "a" is not an event`},
		{"an event without a seal", store(1, freelist(), leaf(4, entry{key: "a", value: "123"})), 0, `the event of "a" has another checksum`},
		{"an event with another seal", store(1, freelist(), leaf(4, entry{key: "b", value: a.value})), 0, `the event of "b" has another checksum`},
		{"an event too many", store(1, freelist(), leaf(4, a, b)), 0, "it has 2 events, and should have 1"},
		{"an event too few", store(2, freelist(), leaf(4, a)), 0, "it has 1 events, and should have 2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, err := checkImage(tt.file, true)
			if tt.text == "" && (n != tt.n || err != nil) || tt.text != "" && (!errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), tt.text)) {
				t.Errorf("%d events, %v, want %d and %q", n, err, tt.n, tt.text)
			}
			if n, skipped := checkImage(tt.file, false); !strings.Contains(tt.text, "checksum") && fmt.Sprint(skipped) != fmt.Sprint(err) {
				t.Errorf("without seals: %d, %v", n, skipped)
			}
		})
	}
}

// The buckets of a file; a small one is inline, in the page with its name.
func TestVerifyBuckets(t *testing.T) {
	a := event("a", "1")
	inline := func(entries ...entry) []byte { return bytesOf(0, leafPage, entries...) }
	events := bucket("events", 0, 1, inline(a))
	tests := []struct {
		name    string
		buckets []entry
		text    string
	}{
		{"as they are", []entry{formatEntry, events}, ""},
		{"no events", []entry{formatEntry, bucket("events", 0, 0, inline())}, ""},
		{"no bucket of events", []entry{formatEntry}, "it is not a file of alldata"},
		{"none at all", nil, "it is not a file of alldata"},
		{"another name", []entry{formatEntry, bucket("eventt", 0, 1, inline(a))}, "it is not a file of alldata"},
		{"another bucket", []entry{formatEntry, events, bucket("more", 0, 0, inline())}, "it is not a file of alldata"},
		{"an entry that is none", []entry{formatEntry, {key: "events", value: events.value}}, `it has "events", which is not of a store`},
		{"half a head", []entry{formatEntry, {key: "events", value: events.value[:bucketHead-1], flags: bucketFlag}}, `the bucket "events" has 15 bytes`},
		{"no page", []entry{formatEntry, bucket("events", 0, 0, nil)}, "a bucket of 16 bytes has no page"},
		{"half a page head", []entry{formatEntry, bucket("events", 0, 0, inline()[:15])}, "a bucket of 31 bytes has no page"},
		{"an inline page with a number", []entry{formatEntry, bucket("events", 0, 1, bytesOf(1, leafPage, a))}, "the page of a bucket has another head"},
		{"an inline page of another kind", []entry{formatEntry, bucket("events", 0, 0, bytesOf(0, branchPage))}, "the page of a bucket has another head"},
		{"an inline page with more pages", []entry{formatEntry, bucket("events", 0, 1, set(inline(a), 12, 1))}, "the page of a bucket has another head"},
		{"a byte more", []entry{formatEntry, bucket("events", 0, 1, append(inline(a), 0))}, "a bucket has 1 bytes more than it fills"},
		{"a byte less", []entry{formatEntry, bucket("events", 0, 1, inline(a)[:len(inline(a))-1])}, "entry 0 of page 0 is not where it should be"},
		{"another number of events", []entry{formatEntry, bucket("events", 0, 2, inline(a))}, "it has 1 events, and should have 2"},
		{"another version", []entry{bucket("alldata", 0, 1, inline(entry{key: "version", value: "2"})), events}, `is of version "2"`},
		{"no version", []entry{bucket("alldata", 0, 1, inline()), events}, `is of version ""`},
		{"another key than the version", []entry{bucket("alldata", 0, 1, inline(entry{key: "versiom", value: "1"})), events}, `it has "versiom" where its`},
		{"a longer version", []entry{bucket("alldata", 0, 1, inline(entry{key: "version", value: "1" + strings.Repeat("0", 50)})), events}, `is of version "10`},
		{"an inline bucket that has a page", []entry{formatEntry, bucket("events", 4, 1, inline(a))}, `the bucket "events" has 54 bytes`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := append(make([]byte, 2*testPage), filled(freelist())...)
			file = append(file, filled(bytesOf(3, leafPage, tt.buckets...))...)
			if strings.Contains(tt.name, "has a page") {
				file = append(file, leaf(4, a)...)
			}
			_, err := checkImage(file, true)
			if (err == nil) != (tt.text == "") || err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%v, want %q", err, tt.text)
			}
			if errors.Is(err, ErrDamaged) != (tt.text != "" && !strings.Contains(tt.text, "is of version")) {
				t.Errorf("%v is ErrDamaged: %t", err, errors.Is(err, ErrDamaged))
			}
		})
	}
}

// TestMetaValid tests which meta pages are valid.
func TestMetaValid(t *testing.T) {
	made := func(change func(m *meta)) *meta {
		var m meta
		binary.NativeEndian.PutUint32(m[:], metaMagic)
		binary.NativeEndian.PutUint32(m[4:], metaVersion)
		binary.NativeEndian.PutUint32(m[metaPageSize:], 4096)
		change(&m)
		binary.NativeEndian.PutUint64(m[metaSum:], m.sum())
		return &m
	}
	if m := made(func(m *meta) { m[0]++ }); m.valid() {
		t.Error("another magic is valid")
	}
	if m := made(func(m *meta) { m[4]++ }); m.valid() {
		t.Error("another version is valid")
	}
	m := made(func(*meta) {})
	if m[metaSum]++; m.valid() {
		t.Error("another checksum is valid")
	}
	for size, want := range map[uint32]bool{0: false, 512: false, 1 << 10: true, 3 << 10: false, 4096: true, 1 << 24: true, 1 << 25: false} {
		if m := made(func(m *meta) { binary.NativeEndian.PutUint32(m[metaPageSize:], size) }); m.valid() != want {
			t.Errorf("pages of %d bytes: %t, want %t", size, m.valid(), want)
		}
	}
}

// Damage to any byte of the older meta page does not matter. A damaged newer one is detected, and
// restored unless its content can only be found in its pages.
func TestReadState(t *testing.T) {
	image, _ := small(t)
	st, err := readState(bytes.NewReader(image))
	if err != nil || st.mend != 0 {
		t.Fatal(st, err)
	}
	newest := int(st.meta.u64(metaTx) % 2)
	for slot := range 2 {
		for at := range metaSize {
			for _, change := range []byte{1, 2, 4, 8, 16, 32, 64, 128, 0xff} {
				place := slot*metas/2 + pageHead + at
				image[place] ^= change
				got, err := readState(bytes.NewReader(image))
				image[place] ^= change
				field := at >= metaRoot && at < metaTx
				switch {
				case err != nil:
					t.Fatalf("head %d, byte %d ^ %#x: %v", slot, at, change, err)
				case slot != newest && (*got.meta != *st.meta || got.mend != 0):
					t.Fatalf("the older head, byte %d ^ %#x: %v", at, change, got)
				case slot == newest && (got.mend != int64(slot*metas/2+pageHead) || (*got.meta == *st.meta) == field):
					t.Fatalf("the newer head, byte %d ^ %#x: %v", at, change, got)
				}
			}
		}
	}
}
