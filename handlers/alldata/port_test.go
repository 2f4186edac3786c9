package alldata

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portluck/portluck/portluck"
	"github.com/rs/zerolog"
)

// logBuffer collects what is logged.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// errSecret is the value that callbacks panic with. Its text must appear nowhere.
var errSecret = errors.New("SECRET of a client")

const (
	putText = "POST /_put HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 27\r\n\r\n" +
		`{"key":"k","event":{"a":1}}`
	badText = "POST /_put HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 9\r\n\r\n{SECRET}\n"
)

// onPort serves h on a port of s until the test ends.
func onPort(t *testing.T, s *portluck.Server, h *Handler) (addr string) {
	t.Helper()
	s.Hub = &portluck.Hub{}
	s.Mount("/_put", h)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }() // ends with Close
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return l.Addr().String()
}

// onOwn serves h on a port of its own until the test ends.
func onOwn(t *testing.T, s *portluck.Server, h *Handler) (addr string) {
	t.Helper()
	v := &Server{Addr: "127.0.0.1:0", Handler: h}
	if s != nil {
		v.Log = s
	}
	a, err := v.Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return a.String()
}

// say sends text and reads until the end.
func say(t *testing.T, addr, text string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, c)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for late := time.Now().Add(time.Minute); !ok(); <-time.After(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// Errors are logged by the handler's port, or by the Log of its server, and passed to OnError as
// well. Whatever peers send, the lines are few and do not quote it.
func TestErrorsAreLogged(t *testing.T) {
	t.Parallel()
	for where, start := range map[string]func(*testing.T, *portluck.Server, *Handler) string{"own port": onOwn, "shared port": onPort} {
		for _, tells := range []bool{true, false} {
			t.Run(where+map[bool]string{true: ", OnError", false: ""}[tells], func(t *testing.T) {
				t.Parallel()
				out := &logBuffer{}
				logger := zerolog.New(out).Level(zerolog.InfoLevel)
				h := &Handler{}
				var told atomic.Int32
				if tells {
					h.OnError = func(*http.Request, error) { told.Add(1) }
				}
				addr := start(t, &portluck.Server{Logger: &logger}, h)
				begin := time.Now()
				for range 100 {
					say(t, addr, badText)
				}
				eventually(t, "it is logged and told", func() bool { return out.String() != "" && (!tells || told.Load() > 0) })
				text := out.String()
				if n, most := strings.Count(text, "\n"), 20*int(2+time.Since(begin)/time.Second); n > most {
					t.Errorf("%d lines, want %d at the most", n, most)
				}
				for one := range strings.Lines(text) {
					var l struct{ Message, Level, Proto, Remote, Error string }
					if err := json.Unmarshal([]byte(one), &l); err != nil {
						t.Fatal(err)
					}
					if l.Message != "client failed" || l.Level != "info" || l.Proto != "http" || !strings.HasPrefix(l.Remote, "127.0.0.1:") || !strings.Contains(l.Error, "answered with 400") {
						t.Errorf("logged %+v", l)
					}
				}
				if strings.Contains(text, "SECRET") {
					t.Errorf("logged: %s", text)
				}
			})
		}
	}
}

// panics returns handlers whose callbacks panic.
func panics() map[string]*Handler {
	return map[string]*Handler{
		"OnPut": {OnPut: func(context.Context, string, json.RawMessage) error { panic(errSecret) }},
		"OnError": {
			OnPut:   func(context.Context, string, json.RawMessage) error { return io.ErrClosedPipe },
			OnError: func(*http.Request, error) { panic(errSecret) },
		},
	}
}

// A handler's port logs its panics with a stack, but without the value of the panic.
func TestPanicsAreLogged(t *testing.T) {
	t.Parallel()
	for name, h := range panics() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := &logBuffer{}
			logger := zerolog.New(out)
			s := &portluck.Server{Logger: &logger}
			say(t, onPort(t, s, h), putText)
			eventually(t, "it is logged", func() bool { return strings.Contains(out.String(), "panic in the program") })
			got := out.String()
			if n := s.Stats().Panics; n != 1 || strings.Count(got, "panic in the program") != 1 {
				t.Errorf("%d panics counted, want 1: %s", n, got)
			}
			if !strings.Contains(got, "port_test.go:") || !strings.Contains(got, `"level":"error"`) || !strings.Contains(got, "*errors.errorString") {
				t.Errorf("no stack, level or type: %s", got)
			}
			if strings.Contains(got, "SECRET") {
				t.Errorf("the value is logged: %s", got)
			}
		})
	}
}

// On a server of its own without a Log, panics go to OnError, or else to the standard logger.
func TestPanicsOnAPortOfItsOwn(t *testing.T) {
	out := &logBuffer{}
	stdlog.SetOutput(out)
	defer stdlog.SetOutput(os.Stderr)
	addr := onOwn(t, nil, panics()["OnPut"])
	eventually(t, "it is logged", func() bool {
		// Package handlers logs only a few panics a second, and other tests may have used them up.
		say(t, addr, putText)
		return strings.Contains(out.String(), "callback panicked") && strings.Contains(out.String(), "port_test.go:")
	})
	before := out.String()
	told := make(chan struct{}, 1)
	h := panics()["OnPut"]
	h.OnError = func(*http.Request, error) { told <- struct{}{} }
	say(t, onOwn(t, nil, h), putText)
	<-told
	if got := out.String(); got != before || strings.Contains(got, "SECRET") {
		t.Errorf("logged %s", got)
	}
}
