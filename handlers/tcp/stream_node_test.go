package tcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The tests of Node's suite, by their numbers in part B3 of SEEDS.md.

func TestNodeN1Binary(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		d := newDiary()
		d.do.OnData = func(s *Stream, p []byte) { s.WriteString(string(p), ASCII) }
		v := &Server{Events: d.events(), OnConnection: func(s *Stream) { s.SetEncoding(ASCII) }}
		addr := listen(t, v)
		var all []byte
		var text strings.Builder
		for i := range 256 {
			all = append(all, byte(255-i))
			text.WriteRune(rune(255 - i))
		}
		client := newDiary()
		s := &Stream{Events: client.events()}
		s.SetEncoding(ASCII)
		if err := s.Dial(t.Context(), "tcp", addr); err != nil {
			t.Fatal(err)
		}
		for r := range strings.SplitSeq(text.String(), "") {
			if _, err := s.WriteString(r, ASCII); err != nil {
				t.Fatal(err)
			}
		}
		client.got(t, text.String())
		nc := plainDial(t, addr)
		mustWrite(t, nc, string(all))
		mustRead(t, nc, string(all))
		s.End(nil)
		client.closed(t)
	})
}

func TestNodeN2ConnectBuffer(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		server, client := newDiary(), newDiary()
		addr := listen(t, &Server{Events: server.events()})
		dialling, goOn := make(chan struct{}), make(chan struct{})
		s := &Stream{Events: client.events(), DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			close(dialling)
			<-goOn
			return new(net.Dialer).DialContext(ctx, network, address)
		}}
		done := make(chan error)
		go func() { done <- s.Dial(t.Context(), "tcp", addr) }()
		<-dialling
		wantState(t, s, Opening)
		if write(t, s, "foo") {
			t.Error("Write before there is a connection says that it was sent")
		}
		if err := s.End([]byte("bar")); err != nil {
			t.Error(err)
		}
		wantState(t, s, Opening)
		if got := client.all(); len(got) > 0 {
			t.Errorf("events %q before there is a connection", got)
		}
		close(goOn)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		client.closed(t)
		server.closed(t)
		server.got(t, "foobar")
	})
}

func TestNodeN3AddressInUse(t *testing.T) {
	v := &Server{}
	addr := listen(t, v)
	err := new(Server).Listen("tcp", addr)
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("Listen() = %v, want EADDRINUSE", err)
	}
	if err := v.Listen("tcp", "127.0.0.1:0"); !errors.Is(err, ErrListening) {
		t.Errorf("a second Listen = %v, want ErrListening", err)
	}
}

func TestNodeN4IsIP(t *testing.T) {
	for input, want := range map[string]int{
		"127.0.0.1": 4, "0.0.0.0": 4, "255.255.255.255": 4, "8.8.8.8": 4, "::": 6, "::1": 6, "2001:4860:a005::68": 6,
		"0000:0000:0000:0000:0000:0000:0000:0000": 6, "::ffff:1.2.3.4": 6, "2001:252:0:1::2008:6": 6, "::ffff:127.0.0.1": 6,
		"": 0, "x127.0.0.1": 0, "example.com": 0, "0000:0000:0000:0000:0000:0000:0000:0000::0000": 0, "01.2.3.4": 0,
		" 1.2.3.4": 0, "1.2.3.4 ": 0, "[::1]": 0, "fe80::1%lo": 0, "1.2.3": 0, "1.2.3.256": 0, "1.2.3.4.5": 0, "0:0:0": 0,
		":0:0:0:0:0:0:0:0": 0, "bla": 0, "::anything": 0, "::1%": 0, "::1.2.3.300": 0,
	} {
		if got := IsIP(input); got != want {
			t.Errorf("IsIP(%q) = %d, want %d", input, got, want)
		}
		if got := IsIPv4(input); got != (want == 4) {
			t.Errorf("IsIPv4(%q) = %t", input, got)
		}
		if got := IsIPv6(input); got != (want == 6) {
			t.Errorf("IsIPv6(%q) = %t", input, got)
		}
	}
}

func TestNodeN5KeepAlive(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		server, client := newDiary(), newDiary()
		keep := func(s *Stream) {
			for _, err := range []error{s.SetKeepAlive(true, time.Second), s.SetNoDelay(true)} {
				if err != nil {
					t.Error(err)
				}
			}
			s.SetTimeout(1200 * time.Millisecond)
		}
		server.do.OnConnect, client.do.OnConnect = keep, keep
		told := make(chan struct{}, 2)
		open := func(s *Stream) {
			wantState(t, s, Open)
			told <- struct{}{}
		}
		server.do.OnTimeout, client.do.OnTimeout = open, open
		v := &Server{Events: server.events()}
		s := dial(t, client, "tcp", listen(t, v))
		<-told
		<-told
		s.End(nil)
		server.wants(t, "connect", "timeout", "end", "close false")
		client.wants(t, "connect", "timeout", "end", "close false")
	})
}

// N18, which also tests states and addresses, is the same.
func TestNodeN6N18PingPong(t *testing.T) {
	for _, where := range []struct{ name, network, address, remote string }{
		{"localhost", "tcp", "localhost:0", "127.0.0.1 ::1"},
		{"default host", "tcp4", ":0", "127.0.0.1"},
		{"IPv6", "tcp", "[::1]:0", "::1"},
		{"Unix", "unix", "", ""},
	} {
		t.Run(where.name, func(t *testing.T) {
			eachDriver(t, func(t *testing.T) {
				v, server := ponger(t, where.remote)
				address := where.address
				if where.network == "unix" {
					address = filepath.Join(t.TempDir(), "s")
				}
				addr := listenOn(t, v, where.network, address)
				if where.network == "tcp4" {
					addr = fmt.Sprintf("127.0.0.1:%d", v.Addr().(*net.TCPAddr).Port)
				}
				client := newDiary()
				count := pings(t, client)
				dial(t, client, where.network, addr)
				client.closed(t)
				server.closed(t)
				if *count != 1001 {
					t.Errorf("%d answers, want 1001", *count)
				}
			})
		})
	}
}

// ponger answers each PING of a peer whose address is in remote.
func ponger(t *testing.T, remote string) (*Server, *diary) {
	d := newDiary()
	v := &Server{Events: d.events(), AllowHalfOpen: true}
	d.do.OnConnect = func(s *Stream) {
		s.SetNoDelay(true)
		if got := remoteOf(s); !strings.Contains(remote, got) {
			t.Errorf("RemoteAddress() = %q, want %q", got, remote)
		}
	}
	d.do.OnData = func(s *Stream, p []byte) {
		if got := v.Connections(); got != 1 || s.Server() != v {
			t.Errorf("Connections() = %d, want 1; Server() = %p, want %p", got, s.Server(), v)
		}
		wantState(t, s, Open)
		if string(p) != "PING" {
			t.Errorf("data %q", p)
		}
		write(t, s, "PONG")
	}
	d.do.OnEnd = func(s *Stream) {
		wantState(t, s, WriteOnly)
		s.End(nil)
	}
	d.do.OnClose = func(s *Stream, _ bool) { wantState(t, s, Closed) }
	return v, d
}

// pings makes a client of a ponger send 1000, one after the other, and then another with its end.
// It counts the answers.
func pings(t *testing.T, d *diary) (count *int) {
	count = new(int)
	d.do.OnConnect = func(s *Stream) {
		wantState(t, s, Open)
		write(t, s, "PING")
	}
	d.do.OnData = func(s *Stream, p []byte) {
		if string(p) != "PONG" {
			t.Errorf("data %q", p)
		}
		switch *count++; {
		case *count > 1000:
			wantState(t, s, ReadOnly)
		case *count < 1000:
			wantState(t, s, Open)
			write(t, s, "PING")
		default:
			write(t, s, "PING")
			s.End(nil)
		}
	}
	return count
}

func remoteOf(s *Stream) string {
	if a := s.RemoteAddress(); a.IsValid() {
		return a.Addr().String()
	}
	return ""
}

func TestNodeN7Reconnect(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		server, client := newDiary(), newDiary()
		server.do.OnConnect = func(s *Stream) { s.End([]byte("hello\r\n")) }
		v := &Server{Events: server.events()}
		addr := listen(t, v)
		count, done := 0, make(chan struct{})
		client.do.OnClose = func(s *Stream, hadError bool) {
			if hadError {
				t.Error("closed by an error")
			}
			wantState(t, s, Closed)
			if count++; count > 50 {
				close(done)
				return
			}
			if err := s.Dial(context.Background(), "tcp", addr); err != nil {
				t.Error(err)
				close(done)
			}
		}
		dial(t, client, "tcp", addr)
		select {
		case <-done:
		case <-time.After(soon):
			t.Fatal("not connected 51 times")
		}
		client.got(t, strings.Repeat("hello\r\n", 51))
		if got := strings.Join(client.all(), " "); got != strings.TrimSpace(strings.Repeat("connect data hello\r\n end close false ", 51)) {
			t.Errorf("events %q", got)
		}
	})
}

func TestNodeN8MaxConnections(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		server := newDiary()
		server.do.OnConnect = func(s *Stream) { write(t, s, "hello\r\n") }
		v := &Server{Events: server.events(), MaxConnections: 100}
		addr := listen(t, v)
		var streams []*Stream
		var diaries []*diary
		for range 200 {
			d := newDiary()
			streams = append(streams, dial(t, d, "tcp", addr))
			diaries = append(diaries, d)
		}
		for i, d := range diaries[100:] {
			d.closed(t)
			if d.received() != "" || d.all()[len(d.all())-1] != "close false" {
				t.Errorf("client %d: events %q", 100+i, d.all())
			}
		}
		for i, d := range diaries[:100] {
			d.got(t, "hello\r\n")
			if len(d.all()) != 2 {
				t.Errorf("client %d: events %q", i, d.all())
			}
		}
		if got := v.Connections(); got != 100 {
			t.Errorf("Connections() = %d, want 100", got)
		}
		for _, s := range streams[:100] {
			s.Destroy()
			s.Destroy()
		}
		within(t, "its places are free", func() bool { return v.Connections() == 0 })
		d := newDiary()
		dial(t, d, "tcp", addr)
		d.got(t, "hello\r\n")
	})
}

// The number of connections is never negative, and never more than allowed.
func TestServerConnections(t *testing.T) {
	v := &Server{MaxConnections: 2}
	check := func(s *Stream) {
		if n := v.Connections(); n < 0 || n > 2 {
			t.Errorf("Connections() = %d, want 0 to 2", n)
		}
		s.Destroy()
		s.Destroy()
	}
	v.OnConnection = check
	v.Events = &Events{OnClose: func(s *Stream, _ bool) { check(s) }}
	addr := listen(t, v)
	for range 50 {
		plainDial(t, addr).Close()
	}
	within(t, "all are gone", func() bool { return v.Connections() == 0 })
}
