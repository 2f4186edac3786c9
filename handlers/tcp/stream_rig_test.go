package tcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/loop"
)

// soon bounds how long a test waits for an event that should come at once.
const soon = time.Minute

// eachDriver runs f with each driver of the loop.
func eachDriver(t *testing.T, f func(t *testing.T)) {
	for _, d := range []struct {
		name   string
		driver loop.Driver
	}{{"auto", loop.Auto}, {"goroutines", loop.Goroutines}} {
		t.Run(d.name, func(t *testing.T) {
			driver = d.driver
			t.Cleanup(func() { driver = loop.Auto })
			f(t)
		})
	}
}

// diary records the events of a stream, and then does what the test wants.
type diary struct {
	do Events

	mu      sync.Mutex
	entries []string
	data    []byte
	changed chan struct{}
}

func newDiary() *diary { return &diary{changed: make(chan struct{})} }

func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = append(d.entries, fmt.Sprintf(format, args...))
	close(d.changed)
	d.changed = make(chan struct{})
}

// events returns Events that the diary records.
func (d *diary) events() *Events {
	plain := func(name string, do *func(*Stream)) func(*Stream) {
		return func(s *Stream) {
			d.note("%s", name)
			if *do != nil {
				(*do)(s)
			}
		}
	}
	return &Events{
		OnConnect: plain("connect", &d.do.OnConnect),
		OnSecure:  plain("secure", &d.do.OnSecure),
		OnEnd:     plain("end", &d.do.OnEnd),
		OnTimeout: plain("timeout", &d.do.OnTimeout),
		OnDrain:   plain("drain", &d.do.OnDrain),
		OnData: func(s *Stream, p []byte) {
			d.mu.Lock()
			d.data = append(d.data, p...)
			d.mu.Unlock()
			d.note("data %.40s", p)
			if d.do.OnData != nil {
				d.do.OnData(s, p)
			}
		},
		OnError: func(s *Stream, err error) {
			d.note("error %v", err)
			if d.do.OnError != nil {
				d.do.OnError(s, err)
			}
		},
		OnClose: func(s *Stream, hadError bool) {
			d.note("close %t", hadError)
			if d.do.OnClose != nil {
				d.do.OnClose(s, hadError)
			}
		},
	}
}

func (d *diary) all() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.entries)
}

func (d *diary) received() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return string(d.data)
}

// await waits until cond holds. It is called after each event.
func (d *diary) await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	late := time.NewTimer(soon)
	defer late.Stop()
	for {
		d.mu.Lock()
		changed := d.changed
		d.mu.Unlock()
		if cond() {
			return
		}
		select {
		case <-changed:
		case <-late.C:
			t.Fatalf("no %s: events %s", what, brief(d.all()))
		}
	}
}

// brief returns the last of many entries.
func brief(entries []string) string {
	return fmt.Sprintf("(%d) %q", len(entries), entries[max(0, len(entries)-20):])
}

// has waits for an entry.
func (d *diary) has(t *testing.T, entry string) {
	t.Helper()
	d.await(t, entry, func() bool { return slices.Contains(d.all(), entry) })
}

// got waits until all that was received is want.
func (d *diary) got(t *testing.T, want string) {
	t.Helper()
	d.await(t, fmt.Sprintf("%.100q", want), func() bool { return len(d.received()) >= len(want) })
	if got := d.received(); got != want {
		t.Fatalf("received %.200q (%d bytes), want %.200q", got, len(got), want)
	}
}

// wants waits for the end and compares all entries. The goroutine driver writes in another
// goroutine, so each write is queued and drained.
func (d *diary) wants(t *testing.T, want ...string) {
	t.Helper()
	d.closed(t)
	got := d.all()
	if driver == loop.Goroutines || runtime.GOOS != "linux" {
		got = slices.DeleteFunc(got, func(e string) bool { return e == "drain" })
	}
	if !slices.Equal(got, want) {
		t.Errorf("events %s, want %q", brief(got), want)
	}
}

// closed waits for the end.
func (d *diary) closed(t *testing.T) {
	t.Helper()
	d.await(t, "close", func() bool {
		all := d.all()
		return len(all) > 0 && (all[len(all)-1] == "close true" || all[len(all)-1] == "close false")
	})
}

// listen starts v on a free port of loopback, and ends it with the test.
func listen(t *testing.T, v *Server) (addr string) {
	t.Helper()
	return listenOn(t, v, "tcp", "127.0.0.1:0")
}

func listenOn(t *testing.T, v *Server, network, address string) (addr string) {
	t.Helper()
	if err := v.Listen(network, address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shutdown(t, v) })
	return v.Addr().String()
}

// shutdown ends v at once.
func shutdown(t *testing.T, v *Server) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = v.Shutdown(ctx)
	for late := time.Now().Add(soon); v.Connections() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("%d connections are left", v.Connections())
		}
	}
}

// dial opens s with the events of d.
func dial(t *testing.T, d *diary, network, addr string) *Stream {
	t.Helper()
	s := &Stream{Events: d.events()}
	if err := s.Dial(t.Context(), network, addr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Destroy)
	return s
}

// plainDial connects a peer that is not a Stream.
func plainDial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(soon)); err != nil {
		t.Fatal(err)
	}
	return nc.(*net.TCPConn)
}

func mustWrite(t *testing.T, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatalf("write %.40q: %v", s, err)
	}
}

func mustRead(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %.200q, %v, want %.200q", got, err, want)
	}
}

// write writes text, which must be accepted.
func write(t *testing.T, s *Stream, text string) (flushed bool) {
	t.Helper()
	flushed, err := s.Write([]byte(text))
	if err != nil {
		t.Errorf("Write(%.40q) = %v", text, err)
	}
	return flushed
}

// fill writes to a peer that does not read, until the queue is full.
func fill(t *testing.T, s *Stream) {
	t.Helper()
	chunk := []byte(strings.Repeat("x", 1<<20))
	for range 1000 {
		if _, err := s.Write(chunk); errors.Is(err, handlers.ErrSlow) {
			return
		} else if err != nil {
			t.Errorf("Write() = %v", err)
			return
		}
	}
	t.Error("it is never full")
}

func wantState(t *testing.T, s *Stream, want ReadyState) {
	t.Helper()
	if got := s.ReadyState(); got != want {
		t.Errorf("ReadyState() = %v, want %v", got, want)
	}
}
