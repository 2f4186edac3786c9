package callosum

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// pipe returns a client whose pipe h serves. It is for tests in a bubble of [synctest].
func pipe(t *testing.T, h *Handler) (client net.Conn, s *Server) {
	t.Helper()
	n := &network{}
	s = serve(t, h, n.listen("h"))
	c, err := n.dial(t.Context(), "tcp", "h:4040")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	synctest.Wait()
	return c, s
}

// Every wait ends at its timeout.
func TestTimeouts(t *testing.T) {
	never := func(context.Context, *Conn) { time.Sleep(1000 * time.Hour) }
	run := func(name string, f func(t *testing.T)) {
		t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
	}
	run("SlotTimeout while the program thinks", func(t *testing.T) {
		h, e := recorded(nil)
		h.OnSlotRequest = func(ctx context.Context) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		}
		c, _ := pipe(t, h)
		begin := time.Now()
		expectEnd(t, c, "")
		if d := time.Since(begin); d != 10*time.Second {
			t.Errorf("closed after %v, want 10 s", d)
		}
		e.want(t, "error slot request: no slot line in time")
	})
	run("SlotTimeout while the program ignores it", func(t *testing.T) {
		h, e := recorded(nil)
		h.SlotTimeout = time.Second
		h.OnSlotRequest = func(context.Context) (int, error) {
			time.Sleep(time.Minute)
			return 9, nil
		}
		c, _ := pipe(t, h)
		begin := time.Now()
		expectEnd(t, c, "")
		if d := time.Since(begin); d != time.Second {
			t.Errorf("closed after %v, want 1 s", d)
		}
		time.Sleep(time.Hour)
		e.want(t, "free 9", "error slot request: no slot line in time")
	})
	run("SlotTimeout while the client does not read", func(t *testing.T) {
		h, e := recorded(nil)
		h.SlotTimeout = time.Second
		h.OnSlotFree = nil
		pipe(t, h) // nobody reads from the client's end
		time.Sleep(2 * time.Second)
		synctest.Wait()
		e.want(t, "error slot line: no slot line in time")
		if n := h.slots.Len(); n != 0 {
			t.Errorf("%d slots are out", n)
		}
	})
	run("EndTimeout after the client's end", func(t *testing.T) {
		h, e := recorded(nil)
		h.OnConnection = func(_ context.Context, c *Conn) {
			time.Sleep(time.Minute)
			if _, err := c.Write([]byte("x")); err == nil {
				t.Error("Write succeeds after EndTimeout")
			}
		}
		c, _ := pipe(t, h)
		expect(t, c, "0\r\n")
		c.Close()
		time.Sleep(time.Hour)
		e.want(t, "free 0")
	})
	run("Hold", func(t *testing.T) {
		for _, test := range []struct {
			hold, want time.Duration
			say        string
		}{{0, 100 * time.Millisecond, ""}, {time.Second, time.Second, ""}, {-1, 0, ""}, {0, 0, "request"}} {
			h := &Handler{Hold: test.hold, OnConnection: func(_ context.Context, c *Conn) {
				if test.say != "" {
					io.ReadFull(c, make([]byte, len(test.say)))
				}
				c.Write([]byte("answer"))
			}}
			c, _ := pipe(t, h)
			expect(t, c, "0\r\n")
			begin := time.Now()
			if test.say != "" {
				send(t, c, test.say)
			}
			expectEnd(t, c, "answer")
			if d := time.Since(begin); d != test.want {
				t.Errorf("Hold %v, client says %q: held for %v, want %v", test.hold, test.say, d, test.want)
			}
		}
	})
	run("UnreadTimeout where the system does not tell", func(t *testing.T) {
		h, e := recorded(nil)
		h.OnConnection = never
		h.UnreadTimeout, h.EndTimeout = time.Minute, time.Minute
		c, _ := pipe(t, h)
		expect(t, c, "0\r\n")
		n, err := c.Write(make([]byte, 1<<20))
		if err == nil || n < readAheadSize || n > readAheadSize+8<<10 {
			t.Errorf("Write() = %d, %v, want about %d", n, err, readAheadSize)
		}
		synctest.Wait()
		e.want(t, "free 0")
		time.Sleep(1000 * time.Hour)
	})
	run("FIN behind unread bytes where the system does not tell", func(t *testing.T) {
		h, e := recorded(nil)
		c, _ := pipe(t, h)
		expect(t, c, "0\r\n")
		synctest.Wait() // OnConnection has begun
		send(t, c, "unread")
		c.Close()
		synctest.Wait()
		e.want(t, "connection 0", "free 0")
	})
}

// Shutdown lets an answer that has begun finish, and ends reads that only wait.
func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, e := recorded(nil)
		h.OnConnection = func(_ context.Context, c *Conn) {
			buf := make([]byte, 7)
			for {
				if _, err := io.ReadFull(c, buf); err != nil {
					e.note("read: %v", err)
					return
				}
				time.Sleep(3 * time.Second)
				c.SetReadDeadline(time.Time{}) // the deadline of a shutdown stays
				io.WriteString(c, "answer\n")
			}
		}
		c, s := pipe(t, h)
		expect(t, c, "0\r\n")
		send(t, c, "request")
		time.Sleep(time.Second)
		begin := time.Now()
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		expectEnd(t, c, "answer\n")
		if err := <-done; err != nil || time.Since(begin) != 2*time.Second {
			t.Errorf("Shutdown() = %v after %v, want nil after 2 s", err, time.Since(begin))
		}
		e.want(t, "read: server is shutting down", "free 0")
	})
}

func TestShutdownEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, e := recorded(nil)
		h.OnConnection = func(_ context.Context, c *Conn) {
			for {
				if _, err := io.WriteString(c, "more"); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}
		c, s := pipe(t, h)
		go io.Copy(io.Discard, c)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown() = %v, want DeadlineExceeded", err)
		}
		time.Sleep(time.Minute)
		e.want(t, "free 0")
	})
}

// A closed server accepts nothing more, and closing it again does nothing.
func TestClose(t *testing.T) {
	s := &Server{}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(l); !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve() = %v, want ErrServerClosed", err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("the listener is open")
	}
	if err := (&Server{Addr: "nowhere.invalid:x"}).ListenAndServe(); err == nil {
		t.Error("ListenAndServe() = nil for no address")
	}
}

// Temporary errors of Accept are passed to OnError and do not end the server.
func TestAcceptErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{}
		l := &flaky{pipes: n.listen("h"), left: 5}
		told := 0
		h := &Handler{OnError: func(info *handlers.Info, err error) {
			if told++; info != nil || !errors.Is(err, errTemporary) {
				t.Errorf("OnError(%v, %v)", info, err)
			}
		}}
		serve(t, h, l)
		c, err := n.dial(t.Context(), "tcp", "h:4040")
		if err != nil {
			t.Fatal(err)
		}
		expect(t, c, "0\r\n")
		c.Close()
		if told != 5 {
			t.Errorf("%d errors were told, want 5", told)
		}
	})
}

// flaky is a listener whose Accept fails a few times first.
type flaky struct {
	*pipes
	left int
}

func (f *flaky) Accept() (net.Conn, error) {
	if f.left--; f.left >= 0 {
		return nil, errTemporary
	}
	return f.pipes.Accept()
}

type temporary struct{}

func (temporary) Error() string   { return "too many open files" }
func (temporary) Timeout() bool   { return false }
func (temporary) Temporary() bool { return true }

var errTemporary error = temporary{}
