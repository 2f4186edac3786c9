package hub

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// ended is a Log that keeps the arguments of Disconnected.
type ended struct {
	Log
	traffic *Traffic
}

func (*ended) Connected(*Session) {}

func (e *ended) Disconnected(_ *Session, t *Traffic, _ error) { e.traffic = t }

// With traffic the binding counts what a client sends and is sent, until the client ends.
func TestTraffic(t *testing.T) {
	for _, counted := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			l := &ended{}
			h := &Hub{}
			h.OnMessage = func(m handlers.Message, w *Writer, _ *Client) {
				_, _ = w.WriteString("12345")
				_ = w.Send(m)
				h.Room("x").Publish(text("1234"))
			}
			b := Bind(h, l, counted)
			s := b.NewSession(&handlers.Info{}, &sink{room: -1})
			if err := s.Connect(nil); err != nil {
				t.Fatal(err)
			}
			_ = h.Room("x").Join(s.Client())
			time.Sleep(time.Second)
			_ = s.Message(text("123"))
			s.Disconnect(nil)
			switch want := (Traffic{Duration: time.Second, In: 3, Out: 5 + 3 + 5}); {
			case !counted && l.traffic != nil:
				t.Errorf("counted %+v", l.traffic)
			case counted && (l.traffic == nil || *l.traffic != want):
				t.Errorf("traffic = %+v, want %+v", l.traffic, want)
			case counted:
				b.meters.Range(func(any, any) bool {
					t.Error("a client that has gone is still counted for")
					return false
				})
			}
		})
	}
}
