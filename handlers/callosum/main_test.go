package callosum

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/testdata/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// patience is how long tests on real sockets wait for an event that comes at once on an idle
// machine.
const patience = time.Minute

// events records the callbacks of a handler.
type events struct {
	mu   sync.Mutex
	cond sync.Cond
	seen []string
}

func newEvents() *events {
	e := &events{}
	e.cond.L = &e.mu
	return e
}

func (e *events) note(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen = append(e.seen, fmt.Sprintf(format, args...))
	e.cond.Broadcast()
}

// want waits until there are as many events, and checks that they are these.
func (e *events) want(t testing.TB, want ...string) {
	t.Helper()
	timer := time.AfterFunc(patience, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.cond.Broadcast()
	})
	defer timer.Stop()
	late := time.Now().Add(patience)
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.seen) < len(want) && time.Now().Before(late) {
		e.cond.Wait()
	}
	if got := slices.Clone(e.seen); !slices.Equal(got, want) {
		t.Errorf("events\n got %q\nwant %q", got, want)
	}
}

// recorded returns a handler that gives the slots of the list, or the lowest free ones if it is
// nil, and records its events. It serves a connection until the client ends.
func recorded(slots []int) (*Handler, *events) {
	e := newEvents()
	var mu sync.Mutex
	h := &Handler{
		Hold:       -1,
		OnSlotFree: func(slot int) { e.note("free %d", slot) },
		OnConnection: func(ctx context.Context, c *Conn) {
			e.note("connection %d", c.Slot())
			<-ctx.Done()
		},
		OnError: func(_ *handlers.Info, err error) { e.note("error %v", err) },
	}
	if slots != nil {
		h.OnSlotRequest = func(context.Context) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			e.note("request")
			slot := slots[0]
			slots = slots[1:]
			return slot, nil
		}
	}
	return h, e
}

// network is a network of pipes, in which addresses are names.
type network struct {
	mu    sync.Mutex
	hosts map[string]*pipes
}

// pipes is a listener whose connections are pipes of net.Pipe.
type pipes struct {
	net  *network
	name string
	in   chan net.Conn
	down chan struct{}
	once sync.Once
}

func (n *network) listen(name string) *pipes {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts == nil {
		n.hosts = map[string]*pipes{}
	}
	l := &pipes{net: n, name: name, in: make(chan net.Conn), down: make(chan struct{})}
	n.hosts[withPort(name)] = l
	return l
}

// dial is a [Dialer.DialContext].
func (n *network) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	n.mu.Lock()
	l := n.hosts[addr]
	n.mu.Unlock()
	if l == nil {
		return nil, errRefused
	}
	ours, theirs := net.Pipe()
	select {
	case l.in <- theirs:
		return ours, nil
	case <-l.down:
		return nil, errRefused
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var errRefused = errors.New("connection refused")

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.in:
		return c, nil
	case <-l.down:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error {
	l.once.Do(func() { close(l.down) })
	return nil
}

func (l *pipes) Addr() net.Addr { return &net.UnixAddr{Name: l.name, Net: "pipe"} }

// serve serves h on l until the test ends.
func serve(t testing.TB, h *Handler, l net.Listener) *Server {
	t.Helper()
	s := &Server{Handler: h}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve() = %v, want ErrServerClosed", err)
		}
		_ = s.tasks.Wait(context.Background())
	})
	return s
}

// serveTCP serves h on a port of loopback until the test ends.
func serveTCP(t testing.TB, h *Handler) (addr string) {
	t.Helper()
	return serveKind(t, h, kinds["told by the system"])
}

// opaque is a listener whose connections are read ahead, as on systems that do not report the end
// of a peer.
type opaque struct{ net.Listener }

func (o opaque) Accept() (net.Conn, error) {
	c, err := o.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return opaqueConn{c}, nil
}

type opaqueConn struct{ net.Conn }

func (c opaqueConn) CloseWrite() error { return handlers.CloseWrite(c.Conn) }

// kinds are the two ways to notice the end of a peer.
var kinds = map[string]func(l net.Listener) net.Listener{
	"told by the system": func(l net.Listener) net.Listener { return l },
	"read ahead":         func(l net.Listener) net.Listener { return opaque{l} },
}

// serveKind serves h on a port of loopback until the test ends.
func serveKind(t testing.TB, h *Handler, wrap func(l net.Listener) net.Listener) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, h, wrap(l))
	return l.Addr().String()
}

// connect dials addr. The connection is closed when the test ends.
func connect(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

// expect reads as many bytes as want has and compares them.
func expect(t testing.TB, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got[:n], err, want)
	}
}

// expectEnd reads until the end and compares it with want.
func expectEnd(t testing.TB, r io.Reader, want string) {
	t.Helper()
	if got, err := io.ReadAll(r); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q and the end", got, err, want)
	}
}

func send(t testing.TB, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatalf("write %q: %v", s, err)
	}
}

// eventually waits until ok returns true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for late := time.Now().Add(patience); !ok(); <-time.After(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// served returns how many connections h serves.
func served(h *Handler) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.conns)
}
