package loop

import (
	"flag"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/testdata/leak"
)

func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "32") // the tests mostly wait
	leak.Main(m)
}

// fakeConn is a handlers.Conn over a net.Conn.
type fakeConn struct {
	nc   net.Conn
	info handlers.Info
}

func (c *fakeConn) Info() *handlers.Info       { return &c.info }
func (c *fakeConn) NetConn() (net.Conn, error) { return c.nc, nil }
func (c *fakeConn) Close() error               { return c.nc.Close() }

// recorder is a client that records its events.
type recorder struct {
	onConnect func()
	onMessage func(m handlers.Message) error

	mu   sync.Mutex
	seen []string
	err  error // the error that Disconnect got, once gone is closed
	gone chan struct{}
}

func newRecorder() *recorder { return &recorder{gone: make(chan struct{})} }

func (r *recorder) note(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, s)
}

func (r *recorder) events() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen)
}

func (r *recorder) Connect(*handlers.Info) error {
	r.note("connect")
	if r.onConnect != nil {
		r.onConnect()
	}
	return nil
}

func (r *recorder) Message(m handlers.Message) error {
	r.note(m.String())
	if r.onMessage != nil {
		return r.onMessage(m)
	}
	return nil
}

func (r *recorder) Disconnect(err error) {
	r.note(fmt.Sprintf("disconnect %v", err))
	r.err = err
	close(r.gone)
}

// pipe returns a driven connection with a codec of lines, and the peer's end.
func pipe(l *Loop) (Conn, *recorder, net.Conn) {
	server, client := net.Pipe()
	return l.New(&fakeConn{nc: server}, handlers.Attachment{Codec: &lines{}}), newRecorder(), client
}

func start(c Conn, r *recorder) {
	if run := c.Start(r); run != nil {
		go run() // ends with the connection
	}
}

func wantEvents(t *testing.T, r *recorder, want ...string) {
	t.Helper()
	<-r.gone
	if got := r.events(); !slices.Equal(got, want) {
		t.Errorf("events = %q, want %q", got, want)
	}
}

func mustWrite(t *testing.T, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatalf("write %q: %v", s, err)
	}
}

func mustRead(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got, err, want)
	}
}
