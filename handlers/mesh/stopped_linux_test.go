package mesh

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers/internal/grace"
)

// A hello that has come before its deadline is read even after the deadline, as the process may
// have been stopped.
func TestHelloThatHasCome(t *testing.T) {
	t.Parallel()
	n := &Node{HelloTimeout: time.Millisecond, name: "room", id: "0A"}
	hear := func() (string, error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		if _, err := io.WriteString(client, hello("room", "0B")); err != nil {
			t.Fatal(err)
		}
		for !grace.HasUnread(server) {
			time.Sleep(time.Millisecond)
		}
		defer n.bound(t.Context(), server)()
		time.Sleep(20 * time.Millisecond) // longer than the hello may take
		return n.hear(server)
	}
	id, err := hear()
	// A busy machine may take longer than the time that is left.
	for try := 0; err != nil && try < 20; try++ {
		id, err = hear()
	}
	if id != "0B" || err != nil {
		t.Errorf("hear() = %q, %v", id, err)
	}
}
