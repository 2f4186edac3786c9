package hub

import (
	"testing"

	"github.com/portluck/portluck/handlers"
)

// quitting is a stream that can end for a reason. It gets a message before it is told the reason.
type quitting struct {
	handlers.Stream
	before func()
}

func (q *quitting) Quit(error) { q.before() }

// A message that comes while Kill is ending its client does not hide why.
func TestKillBesideAMessage(t *testing.T) {
	t.Parallel()
	var got error
	h := &Hub{OnDisconnect: func(_ *Client, err error) { got = err }}
	q := &quitting{}
	s := Bind(h, nil, false).NewSession(&handlers.Info{}, q)
	q.before = func() { s.Disconnect(s.Message(handlers.Message{})) }
	if err := s.Connect(&handlers.Info{}); err != nil {
		t.Fatal(err)
	}
	if s.Kill(handlers.ErrPanic); got != handlers.ErrPanic {
		t.Errorf("OnDisconnect(%v), want %v", got, handlers.ErrPanic)
	}
}
