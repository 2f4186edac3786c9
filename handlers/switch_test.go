package handlers_test

import (
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// named is an end of a pipe whose addresses tell which end it is.
type named struct {
	net.Conn
	name string
}

type addr string

func (addr) Network() string  { return "test" }
func (a addr) String() string { return string(a) }

func (n named) LocalAddr() net.Addr  { return addr("local " + n.name) }
func (n named) RemoteAddr() net.Addr { return addr("remote " + n.name) }

func pipe(t *testing.T, name string) (inner named, far net.Conn) {
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close(); far.Close() })
	return named{near, name}, far
}

func TestSwitch(t *testing.T) {
	one, farOne := pipe(t, "one")
	two, farTwo := pipe(t, "two")
	s := handlers.NewSwitch(one)
	for _, step := range []struct {
		inner named
		far   net.Conn
	}{{one, farOne}, {two, farTwo}, {one, farOne}} {
		s.Set(step.inner)
		if got := s.Current(); got != net.Conn(step.inner) {
			t.Errorf("Current() = %v, want %v", got, step.inner.name)
		}
		if got, want := s.LocalAddr().String(), "local "+step.inner.name; got != want {
			t.Errorf("LocalAddr() = %q, want %q", got, want)
		}
		if got, want := s.RemoteAddr().String(), "remote "+step.inner.name; got != want {
			t.Errorf("RemoteAddr() = %q, want %q", got, want)
		}
		go s.Write([]byte("out")) // ends when it is read
		got := make([]byte, 3)
		if _, err := io.ReadFull(step.far, got); string(got) != "out" || err != nil {
			t.Errorf("the far end reads %q, %v", got, err)
		}
		go step.far.Write([]byte("in!")) // ends when it is read
		if _, err := io.ReadFull(s, got); string(got) != "in!" || err != nil {
			t.Errorf("Read() = %q, %v", got, err)
		}
	}
}

func TestSwitchDeadlines(t *testing.T) {
	past := time.Unix(1, 0)
	tests := []struct {
		name        string
		set         func(s *handlers.Switch) error
		read, write bool // whether it expires
	}{
		{"both", func(s *handlers.Switch) error { return s.SetDeadline(past) }, true, true},
		{"read", func(s *handlers.Switch) error { return s.SetReadDeadline(past) }, true, false},
		{"write", func(s *handlers.Switch) error { return s.SetWriteDeadline(past) }, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inner, far := pipe(t, "one")
			s := handlers.NewSwitch(inner)
			if err := tt.set(s); err != nil {
				t.Fatal(err)
			}
			go io.Copy(far, far) // ends with the test
			if _, err := s.Write([]byte("x")); os.IsTimeout(err) != tt.write {
				t.Errorf("Write() = %v, want a timeout: %t", err, tt.write)
			}
			if tt.write {
				go far.Write([]byte("x")) // ends with the test
			}
			if _, err := s.Read(make([]byte, 1)); os.IsTimeout(err) != tt.read {
				t.Errorf("Read() = %v, want a timeout: %t", err, tt.read)
			}
		})
	}
}

// begun reports the beginning of a Read.
type begun struct {
	net.Conn
	reading chan struct{}
}

func (b begun) Read(p []byte) (int, error) {
	close(b.reading)
	return b.Conn.Read(p)
}

// Replacing a connection does not affect the one before, even if a Read of it is running.
func TestSwitchLeavesTheOneBefore(t *testing.T) {
	inner, farOne := pipe(t, "one")
	two, farTwo := pipe(t, "two")
	one := begun{inner, make(chan struct{})}
	s := handlers.NewSwitch(one)
	var wg sync.WaitGroup
	wg.Go(func() {
		got := make([]byte, 3)
		if n, err := s.Read(got); string(got[:n]) != "one" || err != nil {
			t.Errorf("Read() = %q, %v", got[:n], err)
		}
	})
	<-one.reading
	s.Set(two)
	if err := s.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	if _, err := farTwo.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection that was closed: %v, want EOF", err)
	}
	if _, err := farOne.Write([]byte("one")); err != nil {
		t.Errorf("the one before: %v", err)
	}
	wg.Wait()
}

func TestSwitchConcurrently(t *testing.T) {
	one, _ := pipe(t, "one")
	two, _ := pipe(t, "two")
	s := handlers.NewSwitch(one)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				s.Set(two)
				if s.Current() == nil || s.LocalAddr() == nil {
					t.Error("there is no connection")
				}
				s.Set(one)
			}
		})
	}
	wg.Wait()
}
