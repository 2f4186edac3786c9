package loop

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// goodbyes is a codec of lines in which both sides say bye.
type goodbyes struct{ lines }

func (g *goodbyes) Decode(in []byte, m *handlers.Messages) (int, error) {
	if bytes.HasSuffix(in, []byte("bye\n")) {
		return len(in), io.EOF
	}
	return 0, nil
}

func (*goodbyes) AppendClose(dst []byte, _ error) []byte { return append(dst, "bye\n"...) }

// When both sides have said goodbye after End, the client is disconnected, even if its peer keeps
// the connection open.
func TestDriversGoodbyeOfBoth(t *testing.T) {
	eachDriver(t, func() *Loop { return &Loop{CloseTimeout: time.Hour, linger: time.Hour} }, func(t *testing.T, r *rig) {
		c, rec, client := r.connect(t, handlers.Attachment{Codec: &goodbyes{}})
		start(c, rec)
		if err := c.End(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(client); string(got) != "bye\n" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		mustWrite(t, client, "bye\n")
		wantEvents(t, rec, "connect", "disconnect <nil>")
	})
}
