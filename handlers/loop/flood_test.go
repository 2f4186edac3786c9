package loop

import (
	"io"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// A client that sends an endless message or handshake ends at its deadline. Unread bytes extend the
// deadline only once.
func TestLateSenderEnds(t *testing.T) {
	const bound = 500 * time.Millisecond
	for name, shakes := range map[string]bool{"a message": false, "a handshake": true} {
		t.Run(name, func(t *testing.T) {
			eachDriver(t, func() *Loop { return &Loop{MessageTimeout: bound, HandshakeTimeout: bound} }, func(t *testing.T, r *rig) {
				c, rec, client := r.connect(t, handlers.Attachment{Codec: &swallowing{}, Handshake: shakes})
				start(c, rec)
				ended := make(chan struct{})
				go func() { // ends with the connection
					defer close(ended)
					for {
						if _, err := client.Write([]byte("x")); err != nil {
							return
						}
					}
				}()
				select {
				case <-ended:
				case <-time.After(time.Minute):
					t.Error("it goes on sending")
					client.Close()
					<-ended
				}
				if !shakes {
					wantEvents(t, rec, "connect", "disconnect "+handlers.ErrTimeout.Error())
				}
			})
		})
	}
}

// swallowing is a codec whose message never ends and takes no memory.
type swallowing struct{ lines }

func (*swallowing) Decode(in []byte, m *handlers.Messages) (int, error) {
	if m.EOF {
		return 0, io.ErrUnexpectedEOF
	}
	return max(0, len(in)-1), nil
}
