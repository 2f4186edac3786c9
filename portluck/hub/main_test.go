package hub

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/loop"
	"github.com/portluck/portluck/testdata/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// patience is how long a test waits for what must come. It is long because the machine may have
// other work.
const patience = time.Minute

// eventually waits until ok returns true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for late := time.Now().Add(patience); !ok(); {
		if time.Now().After(late) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		<-time.After(time.Millisecond)
	}
}

func text(s string) handlers.Message { return handlers.Message{Data: []byte(s), Kind: handlers.Text} }

// connect makes a client of h whose stream is s, as a port does.
func connect(h *Hub, s handlers.Stream) *Client {
	b := h.binding.Load()
	if b == nil {
		b = Bind(h, nil, false)
	}
	c, err := b.Connect(&handlers.Info{Protocol: handlers.ProtocolTCP}, s)
	if err != nil {
		panic(err)
	}
	return c.(*Session).Client()
}

// lines frames a message as a line.
type lines struct{}

func (lines) AppendMessage(dst, msg []byte, _ handlers.Kind) []byte {
	return append(append(dst, msg...), '\n')
}

// sink is the stream of a client without a connection. It is full when it has taken room bytes.
type sink struct {
	mu      sync.Mutex
	got     bytes.Buffer
	room    int // bytes that are left; -1 if unbounded
	waiting []loop.Drainer
	gone    bool
}

func (s *sink) Framing() handlers.Framing { return lines{} }

func (s *sink) Feed(p []byte, f loop.FrameSource) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.gone:
		return 0, handlers.ErrClosed
	case s.room < 0 || s.room >= len(p):
		s.got.Write(p)
		if s.room > 0 {
			s.room -= len(p)
		}
		return len(p), nil
	}
	n := 0
	if s.room > 0 { // a message that was begun is taken to its end
		n = f.End(s.room)
	}
	s.got.Write(p[:n])
	s.room = 0
	s.waiting = append(s.waiting, f)
	return n, nil
}

// read makes room for n bytes, or for any number if n is negative.
func (s *sink) read(n int) {
	s.mu.Lock()
	s.room = n
	all := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	for _, f := range all {
		f.Drained()
	}
}

func (s *sink) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(strings.Lines(s.got.String()))
}

func (s *sink) destroyed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}

func (s *sink) Destroy() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
}

func (s *sink) Write(p []byte, _ handlers.Kind) (int, error) { return len(p), nil }
func (s *sink) Send(p []byte, _ handlers.Kind) error         { return nil }
func (s *sink) TrySend(p []byte, _ handlers.Kind) error      { return nil }
func (s *sink) End() error                                   { return nil }
func (s *sink) client(h *Hub) *Client                        { return connect(h, s) }

// hooked is a sink that calls back while it is fed.
type hooked struct {
	sink
	hook func()
}

func (s *hooked) Feed(p []byte, f loop.FrameSource) (int, error) {
	s.hook()
	return s.sink.Feed(p, f)
}

func (s *hooked) client(h *Hub) *Client { return connect(h, s) }

// single is a stream that takes one message at a time, and only take messages in total.
type single struct {
	handlers.Stream
	take func(msg string) error
}

func (s *single) TrySend(p []byte, _ handlers.Kind) error { return s.take(string(p)) }

func (s *single) client(h *Hub) *Client { return connect(h, s) }

// null is a sink that keeps nothing.
type null struct{ sink }

func (*null) Feed(p []byte, _ loop.FrameSource) (int, error) { return len(p), nil }

func (s *null) client(h *Hub) *Client { return connect(h, s) }
