package loop

import (
	"testing"

	"github.com/portluck/portluck/handlers"
)

// keeper is a codec of lines that keeps memory between messages.
type keeper struct{ lines }

func (k *keeper) Decode(in []byte, m *handlers.Messages) (int, error) {
	m.Kept = 1000
	return k.lines.Decode(in, m)
}

// What a codec keeps between messages counts for the budget until its client ends.
func TestDriversKeptBetweenMessages(t *testing.T) {
	eachDriver(t, func() *Loop { return &Loop{Budget: &handlers.Budget{}} }, func(t *testing.T, r *rig) {
		c, rec, client := r.connect(t, handlers.Attachment{Codec: &keeper{}})
		rec.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
		start(c, rec)
		for range 3 { // the answer to a line shows that the Decode before it has returned
			mustWrite(t, client, "a\n")
			mustRead(t, client, "a\n")
		}
		if held := r.Budget.Held(); held < 1000 {
			t.Errorf("%d bytes are held between messages, want 1000", held)
		}
		client.Close()
		<-rec.gone
		r.Wait()
		if held := r.Budget.Held(); held != 0 {
			t.Errorf("%d bytes are held at the end", held)
		}
	})
}
