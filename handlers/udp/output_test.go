package udp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// promptWire is a socket in memory that can be full. Then a write without wait fails, and one with
// wait blocks until the socket has room, or until the deadline.
type promptWire struct {
	single
	conn *fakeConn

	mu   sync.Mutex
	full chan struct{} // closed when there is room; nil if there is
}

func (w *promptWire) prompt() bool { return true }

func (w *promptWire) write(out []departure, wait bool) (int, error) {
	for i := range out {
		w.mu.Lock()
		full := w.full
		w.mu.Unlock()
		if full != nil && !wait {
			return i, errWouldBlock
		}
		if full != nil {
			select {
			case <-full:
			case <-time.After(time.Second): // the server's WriteTimeout
				return i, os.ErrDeadlineExceeded
			}
		}
		if n, err := w.single.write(out[i:i+1], wait); n == 0 {
			return i, err
		}
	}
	return len(out), nil
}

func (w *promptWire) fill() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.full = make(chan struct{})
}

func (w *promptWire) open() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.full)
	w.full = nil
}

// promptly serves s on a promptWire, with one client on loopback.
func promptly(t *testing.T, s *Server, f func(t *testing.T, conn *fakeConn, w *promptWire, c *hubClient)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h, conn := &hub{}, newFakeConn()
		s.init()
		k := newSocket(s, conn, h)
		w := &promptWire{single: single{conn}, conn: conn}
		k.wire = w
		s.sockets[k] = struct{}{}
		s.tasks.Go(k.read) // ends with Shutdown
		conn.push(near, "x")
		synctest.Wait()
		f(t, conn, w, h.client())
		if err := s.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown() = %v", err)
		}
	})
}

// What the system does not take at once is queued, in order, and sent when it does. Sending never
// waits.
func TestFullSocket(t *testing.T) {
	promptly(t, &Server{}, func(t *testing.T, conn *fakeConn, w *promptWire, c *hubClient) {
		_ = c.Send([]byte("1"), handlers.Auto)
		equal(t, "sent before Send returns", conn.sent(), near+" 1")
		w.fill()
		for _, m := range []string{"2", "3", "4"} {
			if err := c.Send([]byte(m), handlers.Auto); err != nil {
				t.Errorf("Send() = %v", err)
			}
		}
		synctest.Wait()
		equal(t, "sent", conn.sent())
		w.open()
		synctest.Wait()
		equal(t, "sent when it takes more", conn.sent(), near+" 2", near+" 3", near+" 4")
	})
}

// If the queue is full, Send returns ErrSlow and the datagram is counted. If the socket accepts
// nothing for WriteTimeout, what is queued is dropped.
func TestQueueIsBounded(t *testing.T) {
	s := &Server{MaxQueue: 5000}
	promptly(t, s, func(t *testing.T, conn *fakeConn, w *promptWire, c *hubClient) {
		w.fill()
		accepted, slow := 0, 0
		for range 20 {
			switch err := c.TrySend(make([]byte, 1000), handlers.Auto); err {
			case nil:
				accepted++
			case handlers.ErrSlow:
				slow++
			default:
				t.Errorf("TrySend() = %v", err)
			}
		}
		if accepted < 3 || accepted > 10 || slow != 20-accepted {
			t.Errorf("%d of 20 were accepted, and %d refused", accepted, slow)
		}
		if st := s.Stats(); int(st.Dropped) != slow {
			t.Errorf("Stats() = %+v", st)
		}
		time.Sleep(3 * time.Second)
		if st := s.Stats(); st.Dropped != 20 {
			t.Errorf("Stats() = %+v", st)
		}
		w.open()
		if err := c.Send([]byte("again"), handlers.Auto); err != nil {
			t.Errorf("Send() = %v", err)
		}
		synctest.Wait()
		equal(t, "sent", conn.sent(), near+" again")
	})
}

// Shutdown waits until the queue is sent.
func TestShutdownSendsQueued(t *testing.T) {
	var conn *fakeConn
	promptly(t, &Server{}, func(_ *testing.T, fc *fakeConn, w *promptWire, c *hubClient) {
		conn = fc
		w.fill()
		_ = c.Send([]byte("queued"), handlers.Auto)
		time.AfterFunc(500*time.Millisecond, w.open)
	})
	equal(t, "sent", conn.sent(), near+" queued")
}

// Destroy drops what is queued; End does not.
func TestEndSendsQueued(t *testing.T) {
	for _, end := range []string{"End", "Destroy"} {
		t.Run(end, func(t *testing.T) {
			promptly(t, &Server{}, func(t *testing.T, conn *fakeConn, w *promptWire, c *hubClient) {
				w.fill()
				_ = c.Send([]byte("1"), handlers.Auto) // taken by the system at once
				synctest.Wait()
				_ = c.Send([]byte("2"), handlers.Auto)
				want := []string{near + " 1"}
				if end == "Destroy" {
					c.Destroy()
				} else {
					_ = c.End()
					want = append(want, near+" 2")
				}
				w.open()
				synctest.Wait()
				equal(t, "sent", conn.sent(), want...)
			})
		})
	}
}

// If the system refuses a datagram, the others are sent.
func TestWriteErrors(t *testing.T) {
	h := &hub{message: echo}
	var told []string
	s := &Server{OnError: func(a netip.AddrPort, err error) { told = append(told, a.String()+" "+err.Error()) }}
	inBubble(t, s, h, func(t *testing.T, conn *fakeConn) {
		conn.writeErr = func(to netip.AddrPort) error {
			if to.String() == far {
				return &net.OpError{Op: "write", Err: syscall.EHOSTUNREACH}
			}
			return nil
		}
		conn.push(other, "a")
		conn.push(far, "b")
		conn.push(near, "c")
		synctest.Wait()
		equal(t, "sent", conn.sent(), other+" a", near+" c")
		if len(told) != 1 || !strings.HasPrefix(told[0], far) {
			t.Errorf("told %q", told)
		}
		if st := s.Stats(); st.SendErrors != 1 || st.Sent != 2 || st.BytesOut != 2 || st.BytesIn != 3 {
			t.Errorf("Stats() = %+v", st)
		}
	})
}

// If the system cannot send from a local address, it chooses another.
func TestSourceIsGone(t *testing.T) {
	s := &Server{}
	s.init()
	k := newSocket(s, newFakeConn(), &hub{})
	p := &path{socket: k, oob: []byte("y")}
	gone := []departure{{[]byte("a"), netip.MustParseAddrPort(far), p}}
	if got := k.out.refused(gone, syscall.EINVAL); len(got) != 1 || p.oob != nil {
		t.Errorf("%d are left, from %q", len(got), p.oob)
	}
	p = &path{socket: k, oob: []byte("x")}
	left := []departure{{[]byte("a"), netip.MustParseAddrPort(far), p}, {}}
	if got := k.out.refused(left, syscall.ENETUNREACH); len(got) != 2 || got[0].from.oob != nil || p.oob == nil {
		t.Errorf("%d are left, from %q", len(got), got[0].from.oob)
	}
	if got := k.out.refused(left, syscall.ENETUNREACH); len(got) != 1 || s.Stats().SendErrors != 1 {
		t.Errorf("%d are left the second time; %+v", len(got), s.Stats())
	}
	if got := k.out.refused(left, errors.Join(net.ErrClosed)); len(got) != 0 {
		t.Errorf("%d are left of a closed socket", len(got))
	}
}
