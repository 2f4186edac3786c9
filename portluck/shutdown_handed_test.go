package portluck

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/portluck/portluck/matchers"
)

// ends are the ways in which a server ends.
var ends = map[string]func(t *testing.T, s *Server){
	"Close": func(_ *testing.T, s *Server) { _ = s.Close() },
	"Shutdown": func(t *testing.T, s *Server) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown = %v", err)
		}
	},
	"Shutdown without time": func(_ *testing.T, s *Server) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Shutdown(ctx)
	},
}

// Connections that a listener of Listen has accepted are the program's, whatever becomes of the
// server.
func TestListenKeepsItsConnections(t *testing.T) {
	t.Parallel()
	for name, end := range ends {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, TLS %t", name, secure), func(t *testing.T) {
				t.Parallel()
				// for the one that waits
				s := &Server{TLSConfig: withTLS(), SniffTimeout: 5 * time.Second}
				l := s.Listen("mine", matchers.Prefix("MINE"))
				addr := serve(t, s)
				client := func() net.Conn {
					var c net.Conn = dial(t, addr)
					if secure {
						c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
					}
					send(t, c, "MINE")
					return c
				}
				first := client()
				c, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				waiting := client()
				eventually(t, "the other one waits", func() bool { return s.Stats().Routes["mine"] == 2 })
				end(t, s)
				if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
					t.Errorf("Accept = %v, want %v", err, net.ErrClosed)
				}
				if _, err := io.ReadAll(waiting); err != nil && !secure && !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("the one that waits: %v", err)
				}
				expect(t, c, "MINE")
				send(t, c, "still here")
				expect(t, first, "still here")
				eventually(t, "one is open", func() bool { return s.Stats().Open == 1 })
				c.Close()
				c.Close()
				if got := s.Stats().Open; got != 0 {
					t.Errorf("%d connections are open after Close, want 0", got)
				}
			})
		}
	}
}

// A func of HandleFunc learns from ShuttingDown that the server shuts down, and Shutdown waits for
// the func.
func TestHandleFuncIsToldOfShutdown(t *testing.T) {
	t.Parallel()
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &Server{}
			began, ended := make(chan struct{}), make(chan struct{})
			s.HandleFunc("mine", matchers.Prefix("MINE"), func(c net.Conn) {
				defer close(ended)
				close(began)
				<-s.ShuttingDown()
				_, _ = io.WriteString(c, "bye")
			})
			c := dial(t, serve(t, s))
			send(t, c, "MINE")
			<-began
			end(t, s)
			if name == "Shutdown" {
				select {
				case <-ended:
				default:
					t.Error("it was not waited for")
				}
				expect(t, c, "bye")
			}
			<-ended
		})
	}
}

// When its context ends, Shutdown closes the connection of a func that does not watch ShuttingDown.
func TestHandleFuncLosesItsConnection(t *testing.T) {
	t.Parallel()
	for name, end := range ends {
		if name == "Shutdown" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &Server{}
			began, ended := make(chan struct{}), make(chan struct{})
			s.HandleFunc("mine", matchers.Prefix("MINE"), func(c net.Conn) {
				defer close(ended)
				close(began)
				_, _ = io.Copy(io.Discard, c)
			})
			c := dial(t, serve(t, s))
			send(t, c, "MINE")
			<-began
			end(t, s)
			select {
			case <-ended:
			case <-time.After(patience):
				t.Error("it goes on")
			}
		})
	}
}

// ShuttingDown may be called at any time, and its channel is closed once.
func TestShuttingDownIsToldOnce(t *testing.T) {
	s := &Server{}
	before := s.ShuttingDown()
	serve(t, s)
	select {
	case <-before:
		t.Error("it is told before it begins")
	default:
	}
	_ = s.Close()
	<-before
	<-s.ShuttingDown()
	_ = s.Close()
}

// Connections that wait in a listener when Shutdown begins are served if the program goes on
// accepting.
func TestShutdownServesWhatListenHolds(t *testing.T) {
	t.Parallel()
	for _, goroutines := range []bool{false, true} {
		t.Run(fmt.Sprintf("goroutines %t", goroutines), func(t *testing.T) {
			t.Parallel()
			s := &Server{Goroutines: goroutines, SniffTimeout: time.Minute}
			l := s.Listen("mine", matchers.Prefix("MINE"))
			addr := serve(t, s)
			const n = 20
			var clients []net.Conn
			for range n {
				c := dial(t, addr)
				send(t, c, "MINE")
				clients = append(clients, c)
			}
			eventually(t, "all wait", func() bool { return s.Stats().Routes["mine"] == n })
			down := make(chan error, 1)
			go func() { down <- s.Shutdown(context.Background()) }() // ends when all are accepted
			<-s.ShuttingDown()
			for range n {
				time.Sleep(20 * time.Millisecond) // the program is slow
				c, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				send(t, c, "hello")
				c.Close()
			}
			for _, c := range clients {
				expect(t, c, "hello")
			}
			if err := <-down; err != nil {
				t.Errorf("Shutdown = %v", err)
			}
			if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Accept = %v, want %v", err, net.ErrClosed)
			}
		})
	}
}
