package loop

// A slot is a connection's place in a slotTable. Descriptors are reused, so the events of epoll
// carry slot and generation instead.
type slot struct {
	conn       *epollConn
	generation uint32
}

// chunkSize is how many slots are allocated at once.
const chunkSize = 512

// slotTable numbers the connections of a poller. It grows by chunks, so that it never copies and
// has little room to spare. The numbers of connections that have gone are used again. The zero
// value is an empty table.
type slotTable struct {
	chunks []*[chunkSize]slot
	n      int32 // slots that were ever taken
	free   []int32
}

// at returns the slot with the number i.
func (t *slotTable) at(i int32) *slot { return &t.chunks[i/chunkSize][i%chunkSize] }

// add gives c a slot.
func (t *slotTable) add(c *epollConn) {
	if n := len(t.free); n > 0 {
		c.slot = t.free[n-1]
		t.free = t.free[:n-1]
	} else {
		if t.n%chunkSize == 0 {
			t.chunks = append(t.chunks, new([chunkSize]slot))
		}
		c.slot = t.n
		t.n++
	}
	t.at(c.slot).conn = c
}

// remove frees the slot of c, so that no event finds it any more.
func (t *slotTable) remove(c *epollConn) {
	s := t.at(c.slot)
	s.conn = nil
	s.generation++
	t.free = append(t.free, c.slot)
}

// has reports whether c still has its slot.
func (t *slotTable) has(c *epollConn) bool { return t.at(c.slot).conn == c }

// all returns the connections.
func (t *slotTable) all() []*epollConn {
	all := make([]*epollConn, 0, int(t.n)-len(t.free))
	for i := range t.n {
		if c := t.at(i).conn; c != nil {
			all = append(all, c)
		}
	}
	return all
}
