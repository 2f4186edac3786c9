package httpd

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// book is a ResponseWriter that records its calls, and fails a test that calls it from two
// goroutines at once.
type book struct {
	t      *testing.T
	begun  time.Time
	header http.Header
	mu     sync.Mutex
	told   []string
	using  atomic.Int32
	slow   time.Duration // how long a Flush takes
	fails  error         // the error of a Write
}

func newBook(t *testing.T) *book { return &book{t: t, begun: time.Now(), header: http.Header{}} }

func (b *book) tell(s string) {
	if b.using.Add(1) > 1 {
		b.t.Error("two goroutines write at once")
	}
	b.note(s)
	b.using.Add(-1)
}

func (b *book) note(s string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told = append(b.told, s)
}

func (b *book) take() (told []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	told, b.told = b.told, nil
	return told
}

func (b *book) Header() http.Header     { return b.header }
func (b *book) WriteHeader(int)         { b.tell("head") }
func (b *book) EnableFullDuplex() error { b.tell("duplex"); return nil }
func (b *book) at(t time.Time) string   { return t.Sub(b.begun).String() }
func (b *book) Write(p []byte) (int, error) {
	b.tell("write " + string(p[:min(len(p), 10)]))
	return len(p), b.fails
}

func (b *book) FlushError() error {
	if b.using.Add(1) > 1 {
		b.t.Error("two goroutines write at once")
	}
	time.Sleep(b.slow)
	b.using.Add(-1)
	return nil
}

func (b *book) SetReadDeadline(t time.Time) error  { return b.deadline("read", t) }
func (b *book) SetWriteDeadline(t time.Time) error { return b.deadline("write", t) }

func (b *book) deadline(what string, t time.Time) error {
	switch {
	case t.IsZero():
		b.note(what + " never")
	case t.Equal(past):
		b.note(what + " past")
	default:
		b.note(what + " by " + b.at(t))
	}
	return nil
}

func (b *book) want(what string, want ...string) {
	b.t.Helper()
	if got := b.take(); !slices.Equal(got, want) {
		b.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// answering returns an answer that writes to a book.
func answering(b *book, version int, idle time.Duration) *answer {
	r := httptest.NewRequest("POST", "/", nil)
	r.ProtoMajor = version
	h := &Handler{IdleTimeout: idle}
	p, a := h.writeDeadline(b, r), &answer{}
	a.init(b, r, &httpConn{}, &p, &h.delays)
	return a
}

// Write deadlines are set anew when an eighth of the time has passed; over HTTP/2 at each write,
// and removed after it.
func TestPacer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t)
		p := answering(b, 1, 8*time.Second).pace
		p.begin()
		b.want("the first", "write by 8s")
		time.Sleep(time.Second - 1)
		p.begin()
		p.end()
		b.want("just before an eighth")
		time.Sleep(time.Nanosecond)
		p.begin()
		b.want("after an eighth", "write by 9s")
		h2 := answering(b, 2, 8*time.Second).pace
		h2.begin()
		h2.begin()
		h2.end()
		b.want("HTTP/2", "write by 9s", "write by 9s", "write never")
		for _, version := range []int{1, 2} {
			none := answering(b, version, -1).pace
			none.begin()
			none.end()
			zero := writeDeadline{rc: none.rc, h2: version == 2}
			zero.begin()
			zero.end()
			b.want("no bound")
			none.hurry = true
			none.begin()
			b.want("in a hurry", "write by 2s")
		}
	})
}

// Read deadlines are roughly those of the idle timeout, or exactly those of the message.
func TestReadDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t)
		by := func(d time.Duration) time.Time { return b.begun.Add(d) }
		a := answering(b, 1, 8*time.Second)
		for _, tt := range []struct {
			name  string
			wait  time.Duration
			by    time.Time
			write bool
			want  []string
		}{
			{"the first", 0, time.Time{}, false, []string{"read by 8s"}},
			{"an eighth later", time.Second, time.Time{}, false, nil},
			{"more than that", 1, time.Time{}, false, []string{"read by 9.000000001s"}},
			{"a message ends later", 0, by(time.Minute), false, nil},
			{"a message ends sooner", 0, by(5 * time.Second), false, []string{"read by 5s"}},
			{"the next message", 0, by(5*time.Second + 1), false, []string{"read by 5.000000001s"}},
			{"no message", 0, time.Time{}, false, []string{"read by 9.000000001s"}},
			{"writing", 2 * time.Second, time.Time{}, true, []string{"read by 11.000000001s"}},
		} {
			time.Sleep(tt.wait)
			if tt.write {
				a.mu.Lock()
				a.extendLocked()
				a.mu.Unlock()
			} else if !a.beginRead(tt.by) {
				t.Errorf("%s: nothing is wanted", tt.name)
			}
			b.want(tt.name, tt.want...)
		}
		a.beginTurn()
		a.mu.Lock()
		a.extendLocked()
		a.doneLocked()
		a.extendLocked()
		a.mu.Unlock()
		if b.want("in a turn"); a.beginRead(time.Time{}) {
			t.Error("an answer that is done wants more")
		}
	})
}

// Over HTTP/2 a timer ends a Read and nothing else.
func TestLateReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t)
		a := answering(b, 2, 8*time.Second)
		a.beginRead(time.Time{})
		b.want("the first", "read never")
		time.Sleep(5 * time.Second)
		a.mu.Lock()
		a.extendLocked()
		a.mu.Unlock()
		time.Sleep(8*time.Second - 1)
		b.want("before the time")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		b.want("at the time", "read past")
		a.beginTurn()
		a.endRead()
		time.Sleep(time.Minute)
		b.want("in a turn")
		a.beginRead(time.Now().Add(3 * time.Second))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		b.want("a message", "read past")
		a.mu.Lock()
		a.doneLocked()
		a.mu.Unlock()
		b.take()
		a.endRead()
		b.want("done")
		none := answering(b, 2, -1)
		none.beginRead(time.Time{})
		none.endRead()
		b.want("no bound")
	})
}

// What is written in a turn is sent at its end, or at once if it is much. What is written outside
// of a turn is sent at once.
func TestWhenItIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const never = -1
		much := strings.Repeat("x", flushAt)
		for _, tt := range []struct {
			name string
			turn bool
			text string
			wait time.Duration
			want string
		}{
			{"a line in a turn", true, "a", 0, ""},
			{"a line in a turn that takes its time", true, "a", patience, "write a"},
			{"much in a turn", true, much, 0, "write xxxxxxxxxx"},
			{"nearly as much", true, much[1:], 0, ""},
			{"a line outside", false, "a", 0, "write a"},
			{"a line between turns", false, "b", 0, "write b"},
		} {
			b := newBook(t)
			a := answering(b, 1, never)
			if a.beginTurn(); !tt.turn {
				a.endTurn(false)
			}
			if _, err := a.Write([]byte(tt.text), handlers.Auto); err != nil {
				t.Fatal(err)
			}
			time.Sleep(tt.wait)
			synctest.Wait()
			got := strings.Join(b.take(), " ")
			if got = strings.TrimPrefix(got, "duplex "); got != tt.want {
				t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
			}
			_ = a.finish(nil, true)
		}
	})
}

// Only one goroutine at a time uses the ResponseWriter, however many write.
func TestOneWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t)
		b.slow = time.Second
		a := answering(b, 1, -1)
		a.beginTurn()
		write := func(s string) { _, _ = a.Write([]byte(s), handlers.Auto) }
		write("1")
		go a.endTurn(false) // ends after a second
		synctest.Wait()
		write("2")
		time.Sleep(time.Second)
		synctest.Wait()
		write("3")
		time.Sleep(time.Second)
		if err := a.finish(nil, true); err != nil {
			t.Error(err)
		}
		b.want("the order", "duplex", "write 1", "write 2", "write 3")
	})
}

// The program may use the header until it is sent, or can no longer be sent.
func TestHeaderAfterwards(t *testing.T) {
	for _, done := range []bool{false, true} {
		b := newBook(t)
		b.header.Set("Content-Type", "text/plain")
		a := answering(b, 1, -1)
		if got := a.Header().Get("Content-Type"); got != "text/plain" {
			t.Errorf("Content-Type %q", got)
		}
		a = answering(b, 1, -1)
		if done {
			_ = a.Done()
		} else {
			_, _ = a.Write([]byte("x"), handlers.Auto)
			a.mu.Lock()
			for a.flushing {
				a.cond.Wait()
			}
			a.mu.Unlock()
		}
		if got := a.Header(); len(got) != 0 {
			t.Errorf("done %t: the header is %v", done, got)
		}
		_ = a.finish(nil, true)
	}
}

// An error is sent without the program's header and status.
func TestHeaderOfErrors(t *testing.T) {
	b := newBook(t)
	a := answering(b, 1, -1)
	a.Header().Set("Secret", "x")
	if err := a.finish(handlers.ErrTooLong, true); !errors.Is(err, handlers.ErrTooLong) {
		t.Errorf("finish() = %v", err)
	}
	if b.header.Get("Secret") != "" || b.header.Get("Retry-After") != "" {
		t.Errorf("the header is %v", b.header)
	}
	b.want("the answer", "head", "write message to")
}

// The bounds of a status.
func TestStatuses(t *testing.T) {
	for status, want := range map[int]int{199: 0, 200: 200, 999: 999, 1000: 0} {
		a := answering(newBook(t), 1, -1)
		a.beginTurn()
		a.WriteHeader(status)
		a.WriteHeader(404)
		if want == 0 {
			want = 404
		}
		if a.status != want {
			t.Errorf("WriteHeader(%d): %d, want %d", status, a.status, want)
		}
		a.finish(nil, true)
	}
}

// After several errors finish returns the first one.
func TestFirstFailure(t *testing.T) {
	b := newBook(t)
	b.fails = io.ErrClosedPipe
	a := answering(b, 1, -1)
	a.beginTurn()
	_, _ = a.Write([]byte("x"), handlers.Auto)
	a.endTurn(false)
	if got := a.finish(errGone, true); got != io.ErrClosedPipe || !a.cut() {
		t.Errorf("finish() = %v, cut %t", got, a.cut())
	}
}
