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

func TestDial(t *testing.T) {
	echo := &Handler{OnConnection: func(_ context.Context, c *Conn) { io.Copy(c, c) }}
	addr := serveTCP(t, echo)
	for _, test := range []struct {
		name   string
		dialer Dialer
	}{
		{"plain", Dialer{}},
		{"preface", Dialer{Preface: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := test.dialer.Dial(t.Context(), addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if c.Slot() != 0 || c.Info() != nil {
				t.Errorf("slot %d, info %v", c.Slot(), c.Info())
			}
			send(t, c, "hello")
			expect(t, c, "hello")
			if err := c.CloseWrite(); err != nil {
				t.Errorf("CloseWrite() = %v", err)
			}
			expectEnd(t, c, "")
			c.Close()
			eventually(t, "it is gone", func() bool { return served(echo) == 0 })
		})
	}
	t.Run("rejects by closing", func(t *testing.T) {
		d := Dialer{Accept: func(slot int) bool { return slot > 0 }}
		if _, err := d.Dial(t.Context(), addr); !errors.Is(err, ErrRejected) {
			t.Errorf("Dial() = %v, want ErrRejected", err)
		}
		eventually(t, "it is gone", func() bool { return served(echo) == 0 })
	})
	t.Run("nobody there", func(t *testing.T) {
		n := &network{}
		d := Dialer{DialContext: n.dial}
		if _, err := d.Dial(t.Context(), "nobody"); !errors.Is(err, errRefused) {
			t.Errorf("Dial() = %v, want refused", err)
		}
	})
}

// Dial returns an error for servers that break the protocol.
func TestDialFaults(t *testing.T) {
	for _, test := range []struct {
		name, answer string
		end          bool
		want         error
	}{
		{"not the protocol", "foo\r\n", false, handlers.ErrProtocol},
		{"ends before the line", "13", true, io.ErrUnexpectedEOF},
		{"says nothing", "", false, context.DeadlineExceeded},
		{"stops in the line", "13\r", false, context.DeadlineExceeded},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{}
				l := n.listen("h")
				ended := make(chan error, 1)
				go func() {
					c, _ := l.Accept()
					io.WriteString(c, test.answer)
					if test.end {
						c.Close()
					}
					_, err := c.Read(make([]byte, 1))
					ended <- err
					c.Close()
				}()
				begin := time.Now()
				_, err := (&Dialer{DialContext: n.dial}).Dial(context.Background(), "h")
				if !errors.Is(err, test.want) {
					t.Errorf("Dial() = %v, want %v", err, test.want)
				}
				if d := time.Since(begin); test.want == context.DeadlineExceeded && d != 10*time.Second {
					t.Errorf("after %v, want 10 s", d)
				}
				if err := <-ended; err == nil {
					t.Error("the connection is open")
				}
			})
		})
	}
	t.Run("the caller gives up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := &network{}
			l := n.listen("h")
			go func() {
				c, _ := l.Accept()
				c.Read(make([]byte, 1))
			}()
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(time.Second, cancel)
			if _, err := (&Dialer{DialContext: n.dial}).Dial(ctx, "h"); !errors.Is(err, context.Canceled) {
				t.Errorf("Dial() = %v, want Canceled", err)
			}
		})
	})
}

// Bytes that come with the slot line belong to the application.
func TestDialKeepsWhatFollows(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, _ := l.Accept()
		io.WriteString(c, "173\r\nhello, this is more than a slot line has room for")
		c.Close()
	}()
	c, err := Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Slot() != 173 {
		t.Errorf("slot %d, want 173", c.Slot())
	}
	expectEnd(t, c, "hello, this is more than a slot line has room for")
}

func TestWithPort(t *testing.T) {
	for in, want := range map[string]string{
		"host": "host:4040", "host:1": "host:1", "127.0.0.1": "127.0.0.1:4040", "::1": "[::1]:4040", "[::1]": "[::1]:4040",
		"[::1]:2": "[::1]:2", "": ":4040",
	} {
		if got := withPort(in); got != want {
			t.Errorf("withPort(%q) = %q, want %q", in, got, want)
		}
	}
}

// Upstream's rover expects the slot line, and nothing else, in the first chunk that it reads.
func TestUpstreamRover(t *testing.T) {
	t.Parallel()
	for hold := 2 * time.Second; !linesAreAlone(t, hold); hold *= 2 {
	}
}

// linesAreAlone returns false if the machine was too busy to read the lines before the hold ended.
func linesAreAlone(t *testing.T, hold time.Duration) bool {
	t.Helper()
	h := &Handler{Hold: hold, OnConnection: func(_ context.Context, c *Conn) {
		io.WriteString(c, "the application speaks at once")
		io.Copy(io.Discard, c)
	}}
	addr := serveTCP(t, h)
	for want := range 20 {
		begin := time.Now()
		c := connect(t, addr)
		chunk := make([]byte, 1<<16)
		n, err := c.Read(chunk)
		if time.Since(begin) >= hold {
			return false
		}
		if err != nil || string(chunk[:n]) != string(appendLine(nil, want)) {
			t.Fatalf("the first chunk is %q, %v, want slot %d alone", chunk[:n], err, want)
		}
	}
	return true
}
