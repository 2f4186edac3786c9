package hub

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/portluck/portluck/handlers"
)

// keyIsWord is the KeyOf of messages whose first word is the key; "-" is none.
func keyIsWord(m handlers.Message) string {
	key, _, _ := strings.Cut(m.String(), " ")
	return strings.TrimSuffix(key, "-")
}

func said(r *Room, all ...string) {
	for _, s := range all {
		r.Publish(text(s))
	}
}

// A slow member gets the newest of each key, and is not told of a gap.
func TestByKey(t *testing.T) {
	slow := 0
	h, r := roomOf(RoomOptions{Policy: ByKey, KeyOf: keyIsWord, Ring: 4, History: 3, OnSlow: func(*Room, *Client, uint64) { slow++ }})
	s := &sink{room: 0}
	c := s.client(h)
	r.Join(c)
	start := r.Position()
	for i := range 1000 {
		said(r, fmt.Sprint("a ", i), fmt.Sprint("b ", i))
	}
	said(r, "- x", "c 1")
	if n := r.kept(); n > 2*4+fewReplaced {
		t.Errorf("%d messages are kept", n)
	}
	all, _, complete := r.Since(start)
	if got := fmt.Sprint(all); got != "[a 999 b 999 - x c 1]" || !complete {
		t.Errorf("Since() = %s, %t", got, complete)
	}
	late := &sink{room: -1}
	r.Join(late.client(h))
	wantLines(t, late, "b 999", "- x", "c 1")
	s.read(-1)
	wantLines(t, s, "a 999", "b 999", "- x", "c 1")
	if slow != 0 || r.Stats().Missed != 0 {
		t.Errorf("OnSlow was called %d times, %+v", slow, r.Stats())
	}
	// More keys than the ring has messages: the oldest is lost, and that is told.
	s.read(0)
	said(r, "d 1", "e 1", "f 1", "g 1", "h 1", "g 2")
	s.read(-1)
	wantLines(t, s, "a 999", "b 999", "- x", "c 1", "e 1", "f 1", "h 1", "g 2")
	if _, _, complete := r.Since(start); complete || slow != 1 {
		t.Errorf("Since() is complete: %t, OnSlow was called %d times, want once", complete, slow)
	}
	if n := len(r.ring.keys); n > 4 {
		t.Errorf("%d keys are remembered", n)
	}
}

// The bytes of what is replaced do not count.
func TestByKeyBytes(t *testing.T) {
	_, r := roomOf(RoomOptions{Policy: ByKey, KeyOf: keyIsWord, RingBytes: 300, History: 100})
	for i := range 500 {
		said(r, fmt.Sprintf("k%d %060d", i%4, i))
	}
	if all, _, _ := r.Since(handlers.Position{}); len(all) != 4 || r.ring.bytes != 4*63 {
		t.Errorf("%d messages of %d bytes are kept, want 4 of %d", len(all), r.ring.bytes, 4*63)
	}
	said(r, "k9 "+strings.Repeat("x", 60))
	if all, _, _ := r.Since(handlers.Position{}); len(all) != 4 {
		t.Errorf("%d messages are kept, want 4", len(all))
	}
}

// modelled is a message as the model of a room knows it.
type modelled struct {
	seq        uint64
	key        string
	except, to int // index of a client; -1 if none
	replaced   bool
}

func (m *modelled) isFor(c int) bool { return m.except != c && (m.to < 0 || m.to == c) }

// model is a room that keeps everything.
type model struct {
	all  []*modelled
	keys map[string]*modelled
}

func (m *model) publish(n *modelled) {
	m.all = append(m.all, n)
	old := m.keys[n.key]
	if old != nil && n.to < 0 && (n.except < 0 || n.except == old.except && old.to < 0) {
		old.replaced = true
	}
	if n.key != "" {
		m.keys[n.key] = n
	}
}

// valid returns the messages above seq that are not replaced; if last is positive only so many of
// the last ones.
func (m *model) valid(seq uint64, last int) (out []*modelled) {
	for _, n := range m.all {
		if n.seq > seq && !n.replaced {
			out = append(out, n)
		}
	}
	if last > 0 && len(out) > last {
		out = out[len(out)-last:]
	}
	return out
}

func numbers(all []*modelled, c int) []string {
	out := []string{}
	for _, n := range all {
		if n.isFor(c) {
			out = append(out, fmt.Sprint(n.seq))
		}
	}
	return out
}

// machine runs a room beside its model.
type machine struct {
	t       *testing.T
	h       *Hub
	r       *Room
	model   model
	history int
	clients []*Client
	sinks   []*sink
	since   []uint64 // of the membership; what came before is not for it
	missed  map[*Client]bool
}

func newMachine(t *testing.T, policy Policy, ring, history int) *machine {
	m := &machine{t: t, history: history, missed: map[*Client]bool{}, model: model{keys: map[string]*modelled{}}}
	m.h, m.r = roomOf(RoomOptions{
		Policy: policy, Ring: ring, History: history,
		KeyOf:  keyIsWord,
		OnSlow: func(_ *Room, c *Client, _ uint64) { m.missed[c] = true },
	})
	for range 3 {
		s := &sink{room: -1}
		m.sinks = append(m.sinks, s)
		m.clients = append(m.clients, s.client(m.h))
		m.since = append(m.since, 0)
	}
	return m
}

func (m *machine) publish(op byte) {
	n := &modelled{seq: m.r.Position().Seq + 1, except: -1, to: -1}
	o := &PublishOptions{}
	if k := op & 3; k > 0 && m.r.opts.Policy == ByKey {
		n.key = fmt.Sprint("k", k)
	}
	switch c := int(op>>2) % 3; op >> 5 {
	case 1:
		n.except, o.Except = c, m.clients[c]
	case 2:
		n.to, o.To = c, func(asked *Client) bool { return asked == m.clients[c] }
	}
	m.model.publish(n)
	key := ""
	if n.key != "" {
		key = n.key
	}
	post(m.t, m.r, fmt.Sprint(key, " ", n.seq), o)
}

// check compares what c gets from p on with the model. complete is what the room said.
func (m *machine) check(p uint64, c int, got []string, complete bool) {
	m.t.Helper()
	want := numbers(m.model.valid(p, 0), c)
	if !complete {
		want = numbers(m.model.valid(0, m.history), c)
		if len(m.model.valid(p, 0)) <= m.history {
			m.t.Errorf("what came after %d is not complete, of %d in the history", p, m.history)
		}
	}
	if !slices.Equal(got, want) {
		m.t.Errorf("client %d gets %q after %d (complete %t), want %q", c, got, p, complete, want)
	}
}

func (m *machine) resume(op byte) {
	p := handlers.Position{Epoch: m.r.Position().Epoch, Seq: m.r.Position().Seq * uint64(op&15) / 15}
	c := int(op>>4) % 3
	all, _, complete := (*Session)(m.clients[c]).Since(m.r, p)
	m.check(p.Seq, c, seqs(all), complete)
}

func seqs(all []handlers.Message) []string {
	out := []string{}
	for _, msg := range all {
		_, seq, _ := strings.Cut(msg.String(), " ")
		out = append(out, seq)
	}
	return out
}

// read returns what client c has got since the last call.
func (m *machine) read(c int) []string {
	out := []string{}
	for _, l := range m.sinks[c].lines() {
		_, seq, _ := strings.Cut(strings.TrimSuffix(l, "\n"), " ")
		out = append(out, seq)
	}
	return out
}

// join has a client that reads everything leave, if it is there, and join again.
func (m *machine) join(op byte) {
	c := int(op) % 3
	m.leave(c)
	p := handlers.Position{Epoch: m.r.Position().Epoch, Seq: m.r.Position().Seq * uint64(op>>4) / 15}
	complete, err := m.r.JoinSince(m.clients[c], p)
	if err != nil {
		m.t.Fatal(err)
	}
	m.check(p.Seq, c, m.read(c), complete)
	m.since[c] = p.Seq
	if !complete {
		m.missed[m.clients[c]] = true
	}
}

// leave checks that c, if it is a member, got each message that is not replaced, in order.
func (m *machine) leave(c int) {
	s := m.sinks[c]
	s.read(-1)
	if m.r.Len() > 0 && slices.Contains(m.r.Members(), m.clients[c]) && !m.missed[m.clients[c]] {
		got := map[string]bool{}
		for _, n := range m.read(c) {
			got[n] = true
		}
		for _, want := range numbers(m.model.valid(m.since[c], 0), c) {
			if !got[want] {
				m.t.Errorf("client %d got %q, not %s", c, m.read(c), want)
			}
		}
	}
	last := 0
	for _, n := range m.read(c) {
		var seq int
		if fmt.Sscan(n, &seq); seq <= last || !m.model.all[seq-1].isFor(c) {
			m.t.Errorf("client %d got %s after %d", c, n, last)
		}
		last = seq
	}
	m.r.Leave(m.clients[c])
	delete(m.missed, m.clients[c])
	s.got.Reset()
}

func (m *machine) run(ops []byte) {
	for i := 0; i+1 < len(ops) && i < 600; i += 2 {
		switch op := ops[i+1]; ops[i] % 8 {
		case 0:
			m.join(op)
		case 1:
			m.sinks[op%3].read(int(op >> 2))
		case 2:
			m.resume(op)
		default:
			m.publish(op)
		}
	}
	for c := range m.clients {
		m.leave(c)
	}
}

// A room gives its members, and those who resume, what a simple model says.
func FuzzRoom(f *testing.F) {
	f.Add([]byte{4, 2, 5, 0, 0, 3, 1, 3, 5, 3, 1, 3, 2, 2, 2, 9, 0, 30, 0, 3, 33, 3, 66, 2, 40})
	for seed := range byte(40) {
		ops := []byte{seed, seed * 7, seed * 3}
		for i := range 400 {
			ops = append(ops, byte(i*i)*seed+byte(i*31>>3), byte(i*7)^seed*byte(i>>2))
		}
		f.Add(ops)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) < 3 {
			return
		}
		ring := 1 + int(in[1])%40
		newMachine(t, []Policy{ByKey, DropOldest}[in[0]%2], ring, 1+int(in[2])%ring).run(in[3:])
	})
}
