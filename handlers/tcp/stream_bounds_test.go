package tcp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// An echo that ignores the results of Write loses nothing and stays within MaxQueue, even if the
// peer does not read.
func TestStreamEchoToSlowReader(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		want := random(24 << 20)
		v := &Server{MaxQueue: 64 << 10, Events: &Events{OnData: func(s *Stream, p []byte) {
			if _, err := s.Write(p); err != nil {
				t.Errorf("Write() = %v", err)
			}
		}}}
		nc := plainDial(t, listen(t, v))
		nc.SetDeadline(time.Now().Add(4 * soon))
		go func() { // ends when all is written
			mustWrite(t, nc, want)
			nc.CloseWrite()
		}()
		time.Sleep(100 * time.Millisecond) // the kernel's buffers are full
		if got, err := io.ReadAll(nc); string(got) != want || err != nil {
			t.Errorf("read %d bytes, %v, want %d", len(got), err, len(want))
		}
	})
}

// Write to a peer that does not read returns ErrSlow in the end. What it accepted is not lost.
func TestStreamQueueIsBounded(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		const size = 1 << 20
		accepted := make(chan int, 1)
		v := &Server{MaxQueue: 2 * size, OnConnection: func(s *Stream) {
			for n := 0; ; n++ {
				_, err := s.Write([]byte(strings.Repeat("x", size)))
				switch {
				case errors.Is(err, handlers.ErrSlow):
					accepted <- n
					s.End(nil)
					return
				case err != nil || n > 100:
					t.Errorf("Write() = %v after %d MiB", err, n)
					accepted <- n
					return
				}
			}
		}}
		nc := plainDial(t, listen(t, v))
		n := <-accepted
		if got, err := io.ReadAll(nc); len(got) != n*size || err != nil {
			t.Errorf("read %d bytes, %v, want %d MiB", len(got), err, n)
		}
	})
}

// 8 MiB that are queued when the peer ends are still sent.
func TestStreamFlushesAtEnd(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		d := newDiary()
		want := random(8 << 20)
		d.do.OnConnect = func(s *Stream) { write(t, s, want) }
		v := &Server{Events: d.events()}
		nc := plainDial(t, listen(t, v))
		nc.CloseWrite()
		d.has(t, "end")
		if got, err := io.ReadAll(nc); string(got) != want || err != nil {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
		d.closed(t)
		if all := d.all(); all[len(all)-1] != "close false" {
			t.Errorf("events %q", all)
		}
	})
}

// A stream that has ended waits for CloseTimeout if its peer does not read what is queued.
func TestStreamCloseTimeout(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		d := newDiary()
		// Less than would keep the peer's end from being read.
		d.do.OnConnect = func(s *Stream) { s.Write(make([]byte, 15<<20)) }
		v := &Server{Events: d.events(), CloseTimeout: 300 * time.Millisecond}
		nc := plainDial(t, listen(t, v))
		nc.CloseWrite()
		d.closed(t)
		if all := d.all(); !slices.Contains(all, "error "+handlers.ErrSlow.Error()) || all[len(all)-1] != "close true" {
			t.Errorf("events %q", all)
		}
	})
}

// Inside TLS, large writes lose nothing, and no data comes while the stream is paused.
func TestStreamPauseSecure(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		want := random(4 << 20)
		v := &Server{OnConnection: func(s *Stream) {
			secure(t, s, serverConfig(false))
			write(t, s, want)
			s.End(nil)
		}}
		d := newDiary()
		d.do.OnConnect = func(s *Stream) { secure(t, s, nil) }
		n, paused := 0, false
		d.do.OnData = func(s *Stream, p []byte) {
			if paused {
				t.Error("data while it is paused")
			}
			if before := n; before/(256<<10) != (before+len(p))/(256<<10) {
				paused = true
				s.Pause()
				time.AfterFunc(time.Millisecond, func() {
					paused = false
					s.Resume()
				})
			}
			n += len(p)
		}
		dial(t, d, "tcp", listen(t, v))
		d.closed(t)
		if d.received() != want {
			t.Errorf("received %d bytes that are not those sent", n)
		}
	})
}

// Open takes any net.Conn, also one that is not a socket, and a tls.Conn after its handshake.
func TestStreamOpen(t *testing.T) {
	cert, pool := agent()
	for _, name := range []string{"pipe", "TLS", "TCP"} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			nc, peer := net.Conn(ours), net.Conn(theirs)
			switch name {
			case "TLS":
				nc = tls.Client(ours, &tls.Config{RootCAs: pool, ServerName: "localhost"})
				peer = tls.Server(theirs, &tls.Config{Certificates: []tls.Certificate{cert}})
			case "TCP":
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				if nc, err = net.Dial("tcp", l.Addr().String()); err != nil {
					t.Fatal(err)
				}
				if peer, err = l.Accept(); err != nil {
					t.Fatal(err)
				}
			}
			d := newDiary()
			s := &Stream{Events: d.events()}
			d.do.OnData = func(s *Stream, p []byte) { write(t, s, string(p)) }
			if err := s.Open(nc); err != nil {
				t.Fatal(err)
			}
			if err := s.Open(nc); !errors.Is(err, ErrOpen) {
				t.Errorf("Open() of an open stream = %v", err)
			}
			peer.SetDeadline(time.Now().Add(soon))
			mustWrite(t, peer, "hello")
			mustRead(t, peer, "hello")
			peer.Close()
			d.closed(t)
			if all := d.all(); all[0] != "connect" || all[len(all)-1] != "close false" {
				t.Errorf("events %q", all)
			}
		})
	}
}

// If OnClose dials, first without success and then with success, its events do not overlap those of
// the new connection.
func TestStreamRedialInClose(t *testing.T) {
	d := newDiary()
	v := &Server{OnConnection: func(s *Stream) { s.End(nil) }}
	addr := listen(t, v)
	lost := errors.New("lost")
	dials := 0
	s := &Stream{Events: d.events(), DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if dials++; dials == 2 {
			return nil, lost
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	inside := 0
	d.do.OnConnect = func(*Stream) {
		if inside > 0 {
			t.Error("OnConnect during OnClose")
		}
	}
	d.do.OnClose = func(s *Stream, _ bool) {
		inside++
		defer func() { inside-- }()
		if dials < 3 {
			if err := s.Dial(t.Context(), "tcp", addr); err != nil && !errors.Is(err, lost) {
				t.Errorf("Dial() = %v", err)
			}
			time.Sleep(50 * time.Millisecond) // time for an OnConnect that comes too early
		}
	}
	if err := s.Dial(t.Context(), "tcp", addr); err != nil {
		t.Fatal(err)
	}
	want := "[connect end close false error lost close true connect end close false]"
	d.await(t, want, func() bool { return fmt.Sprint(d.all()) == want })
}

// An incomplete code point that was kept is not lost when the encoding changes.
func TestStreamEncodingChanges(t *testing.T) {
	for _, tt := range []struct {
		e    Encoding
		want string
	}{{Bytes, "a\xe2\x82z"}, {ASCII, "aâ\u0082z"}, {Base64, "a4oJ6"}, {UTF8, "a�z"}} {
		s := new(Stream)
		s.SetEncoding(UTF8)
		got := string(s.rare.text.decode([]byte("a\xe2\x82")))
		s.SetEncoding(tt.e)
		got += string(s.rare.text.decode([]byte("z"))) + string(s.rare.text.flush())
		if got != tt.want {
			t.Errorf("%v: %q, want %q", tt.e, got, tt.want)
		}
	}
}
