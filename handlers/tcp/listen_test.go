package tcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestListenUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "echo.sock")
	var closed sync.WaitGroup
	v := &Server{OnClose: closed.Done, Events: &Events{OnData: func(s *Stream, p []byte) { s.End(p) }}}
	begin := func() {
		t.Helper()
		closed.Add(1)
		if err := v.Listen("unix", path); err != nil {
			t.Fatal(err)
		}
		d := newDiary()
		write(t, dial(t, d, "unix", path), "hello")
		d.closed(t)
		d.got(t, "hello")
	}
	begin()
	if err := new(Server).Listen("unix", path); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("Listen() where somebody listens = %v, want EADDRINUSE", err)
	}
	if err := v.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	closed.Wait()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if err := v.Close(); !errors.Is(err, ErrNotListening) {
		t.Errorf("Close() again = %v, want ErrNotListening", err)
	}
	d := newDiary()
	s := &Stream{Events: d.events()}
	if err := s.Dial(t.Context(), "unix", path); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("Dial() = %v, want ENOENT", err)
	}
	d.closed(t)
	begin() // again, with a stale socket in the way
	stale(t, path+"2")
	path += "2"
	v.Close()
	closed.Wait()
	begin()
	shutdown(t, v)
	closed.Wait()
}

// stale leaves a socket on which nobody listens.
func stale(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
}

// Listen does not remove a file that is not a socket.
func TestListenUnixRegularFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := new(Server).Listen("unix", path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("Listen() = %v", err)
	}
	if got, err := os.ReadFile(path); string(got) != "precious" || err != nil {
		t.Errorf("the file is %q, %v", got, err)
	}
}

// Streams stay open when their server stops listening, and Shutdown ends them.
func TestServerClose(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		closed := make(chan struct{})
		d := newDiary()
		d.do.OnData = func(s *Stream, p []byte) { s.Write(p) }
		v := &Server{Events: d.events(), OnClose: func() { close(closed) }}
		if v.Addr() != nil {
			t.Errorf("Addr() = %v before it listens", v.Addr())
		}
		addr := listen(t, v)
		nc := plainDial(t, addr)
		mustWrite(t, nc, "a")
		mustRead(t, nc, "a")
		if err := v.Close(); err != nil {
			t.Error(err)
		}
		<-closed
		if _, err := net.Dial("tcp", addr); err == nil {
			t.Error("it still listens")
		}
		mustWrite(t, nc, "b")
		mustRead(t, nc, "b")
		go func() { // ends when the stream does
			io.Copy(io.Discard, nc)
			nc.Close()
		}()
		if err := v.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown() = %v", err)
		}
		all := d.all()
		if all[len(all)-1] != "close false" || v.Connections() != 0 {
			t.Errorf("events %q", all)
		}
	})
}

// lacking is a listener that cannot accept for a while.
type lacking struct {
	net.Listener
	errs   chan error
	closed chan struct{}
}

func (l *lacking) Accept() (net.Conn, error) {
	select {
	case err := <-l.errs:
		return nil, err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *lacking) Close() error {
	close(l.closed)
	return nil
}

// A server that has no descriptor for a connection waits a little and goes on.
func TestServerAcceptFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lacking{errs: make(chan error, 10), closed: make(chan struct{})}
		var seen atomic.Int32
		closed := make(chan struct{})
		v := &Server{OnError: func(error) { seen.Add(1) }, OnClose: func() { close(closed) }}
		for range 10 {
			l.errs <- syscall.EMFILE
		}
		began := time.Now()
		if err := v.ListenOn(l); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := seen.Load(); got != 1 {
			t.Errorf("%d errors at once, want 1", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := seen.Load(); got != 10 {
			t.Errorf("%d errors, want 10", got)
		}
		l.errs <- errors.New("broken")
		<-closed // finally
		if got := time.Since(began); got > 2*time.Minute {
			t.Errorf("it took %v", got)
		}
		if v.Addr() != nil {
			t.Error("it listens")
		}
	})
}

// A listener is closed exactly once, because its Close may panic the second time.
func TestServerClosesItsListenerOnce(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(v *Server, l *once) error{
		"Close":           func(v *Server, _ *once) error { return v.Close() },
		"Shutdown":        func(v *Server, _ *once) error { return v.Shutdown(t.Context()) },
		"Close, Shutdown": func(v *Server, _ *once) error { return errors.Join(v.Close(), v.Shutdown(t.Context())) },
		"it fails":        func(_ *Server, l *once) error { l.errs <- errors.New("broken"); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &once{lacking: lacking{errs: make(chan error, 1), closed: make(chan struct{})}}
			closed := make(chan struct{})
			v := &Server{OnClose: func() { close(closed) }}
			if err := v.ListenOn(l); err != nil {
				t.Fatal(err)
			}
			if err := end(v, l); err != nil {
				t.Error(err)
			}
			<-closed
			if n := l.n.Load(); n != 1 {
				t.Errorf("Close was called %d times, want 1", n)
			}
		})
	}
}

// once is a listener that counts the calls of Close.
type once struct {
	lacking
	n atomic.Int32
}

func (l *once) Close() error {
	l.n.Add(1)
	return l.lacking.Close()
}

// Shutdown returns after the last callback, also if the server has stopped listening, and if it is
// not the first Shutdown.
func TestShutdownWaitsForCallbacks(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(v *Server, hold func()){
		"Server.OnClose": func(v *Server, hold func()) { v.OnClose = hold },
		"Server.OnError": func(v *Server, hold func()) { v.OnError = func(error) { hold() } },
		"Events.OnClose": func(v *Server, hold func()) { v.Events.OnClose = func(*Stream, bool) { hold() } },
	} {
		for _, closed := range []bool{false, true} {
			for _, goroutines := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, closed %t, goroutines %t", name, closed, goroutines), func(t *testing.T) {
					t.Parallel()
					called, release := make(chan struct{}), make(chan struct{})
					v := &Server{Goroutines: goroutines, Events: &Events{OnConnect: func(s *Stream) { s.End(nil) }}}
					set(v, func() { close(called); <-release })
					nc := dialScarce(t, v)
					defer nc.Close()
					go func() { _, _ = io.Copy(io.Discard, nc); nc.Close() }() // ends with the connection
					if name != "Server.OnClose" {
						<-called
					}
					if closed {
						_ = v.Close()
					}
					for range 2 {
						ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
						if err := v.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
							t.Errorf("Shutdown() = %v while a callback runs", err)
						}
						cancel()
					}
					<-called
					close(release)
					shutdown(t, v)
				})
			}
		}
	}
}
