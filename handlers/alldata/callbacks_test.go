package alldata

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/testdata/funcs"
)

// A panic in a callback costs one call and leaves no lock held. A panic in Client.OnRetry or
// Keygen.Now reaches the caller.
func TestCallbacksPanic(t *testing.T) {
	cases := map[string]func(t *testing.T){
		"Client.OnRetry": panicsInOnRetry, "Handler.OnPut": panicsInHandler, "Handler.OnError": panicsInHandler,
		"Keygen.Now": panicsInNow, "Server.OnError": panicsInServer, "Store.OnStored": panicsInStore, "Store.OnError": panicsInStore,
	}
	var names []string
	for name, f := range cases {
		names = append(names, name)
		t.Run(name, f)
	}
	funcs.Covered(t, names...)
}

func panicsInOnRetry(t *testing.T) {
	var asked atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(map[bool]int{true: http.StatusServiceUnavailable, false: http.StatusCreated}[asked.Add(1) == 1])
	}))
	defer srv.Close()
	c := &Client{URL: srv.URL, OnRetry: func(string, int, error) { panic("of the program") }}
	if err := handlers.Guard(func() { _ = c.Put(t.Context(), "a", json.RawMessage("1")) }); err == nil {
		t.Error("the caller does not get the panic")
	}
	if err := c.Put(t.Context(), "a", json.RawMessage("1")); err != nil {
		t.Errorf("the next Put = %v", err)
	}
}

func panicsInHandler(t *testing.T) {
	var put atomic.Bool
	h := &Handler{
		OnPut: func(context.Context, string, json.RawMessage) error {
			if put.CompareAndSwap(false, true) {
				panic("of the program")
			}
			return nil
		},
		OnError: func(*http.Request, error) { panic("of the program") },
	}
	for _, want := range []int{500, 201} {
		if w := ask(h, "POST", upstreamBody); w.Code != want {
			t.Errorf("status %d, want %d", w.Code, want)
		}
		if n := h.pending.Load(); n != 0 {
			t.Errorf("%d bytes are still counted", n)
		}
	}
}

func panicsInNow(t *testing.T) {
	g := &Keygen{Now: func() time.Time { panic("of the program") }}
	if err := handlers.Guard(func() { g.Next() }); err == nil {
		t.Error("the caller does not get the panic")
	}
	g.Now = nil
	if key := g.Next(); len(key) != KeyLen {
		t.Errorf("Next() = %q", key)
	}
}

func panicsInServer(t *testing.T) {
	s := &Server{}
	called := make(chan struct{})
	s.OnError = func(error) {
		defer close(called)
		panic("of the program")
	}
	fails(t, s)
	<-called
	if err := s.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
}

// fails runs s on a listener that fails.
func fails(t *testing.T, s *Server) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beginLocked(l)
	l.Close()
}

func panicsInStore(t *testing.T) {
	var failed atomic.Int32
	s := open(t, &Store{
		OnStored: func(string, json.RawMessage) { panic("of the program") },
		OnError:  func(error) { failed.Add(1); panic("of the program") },
	})
	mustPut(t, s, "a", "1")
	mustPut(t, s, "b", "2")
	if err := s.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	if n := failed.Load(); n != 2 {
		t.Errorf("OnError was called %d times, want 2", n)
	}
}

// Close can be called in every callback.
func TestCallbacksClose(t *testing.T) {
	t.Parallel()
	t.Run("Server.OnError", func(t *testing.T) {
		s := &Server{}
		closed := make(chan error, 1)
		s.OnError = func(error) { closed <- s.Close() }
		fails(t, s)
		if err := <-closed; err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	for _, name := range []string{"Store.OnStored", "Store.OnError"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &Store{}
			closed, told := make(chan error, 1), make(chan string, 2)
			end := func() {
				if len(told) == 1 {
					closed <- s.Close()
				}
			}
			s.OnStored = func(key string, _ json.RawMessage) {
				if told <- key; name == "Store.OnError" {
					panic("of the program")
				}
				end()
			}
			s.OnError = func(error) { end() }
			open(t, s)
			mustPut(t, s, "a", "1")
			err := s.Put(t.Context(), "b", json.RawMessage("2")) // either before Close or after it
			if err != nil && !errors.Is(err, ErrClosed) {
				t.Errorf("Put = %v", err)
			}
			if err := <-closed; err != nil {
				t.Errorf("Close() = %v", err)
			}
			<-told
			if err == nil {
				<-told
			}
			if err := s.Open(); err != nil {
				t.Errorf("Open() = %v", err)
			}
		})
	}
}

// Close returns after OnError, whether OnError returns or ends its goroutine, unless CloseTimeout
// has passed.
func TestCloseWaitsForOnError(t *testing.T) {
	t.Parallel()
	called, release := make(chan struct{}), make(chan struct{})
	s := &Server{CloseTimeout: 10 * time.Millisecond, OnError: func(error) { close(called); <-release }}
	fails(t, s)
	<-called
	r := s.running
	if err := s.Close(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close() = %v while OnError runs", err)
	}
	s.running, s.CloseTimeout = r, time.Minute
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }() // ends with OnError
	close(release)
	if err := <-closed; err != nil {
		t.Errorf("Close() = %v", err)
	}
	if err := r.tasks.Wait(t.Context()); err != nil {
		t.Errorf("OnError runs on: %v", err)
	}
}
