package tlsd

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// cutter writes in pieces, and may wait between them.
type cutter struct {
	net.Conn
	size  int
	pause time.Duration
	most  int // bytes that are sent at all; the rest is dropped. No bound if zero
	sent  int
}

func (c *cutter) Write(p []byte) (int, error) {
	for n := 0; n < len(p); n += c.size {
		piece := p[n:min(n+c.size, len(p))]
		if c.most > 0 && c.sent+len(piece) > c.most {
			return len(p), nil
		}
		if _, err := c.Conn.Write(piece); err != nil {
			return n, err
		}
		c.sent += len(piece)
		time.Sleep(c.pause)
	}
	return len(p), nil
}

// recorder splits the first TLS record that is written into records of 50 bytes.
type recorder struct {
	net.Conn
	done bool
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.done {
		return r.Conn.Write(p)
	}
	r.done = true
	var out []byte
	for body := p[5:]; len(body) > 0; {
		n := min(50, len(body))
		out = append(append(out, p[0], p[1], p[2], 0, byte(n)), body[:n]...)
		body = body[n:]
	}
	_, err := r.Conn.Write(out)
	return len(p), err
}

func clientConfig() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"x"}}
}

// Go's ClientHello does not fit into one segment, and may come in any pieces.
func TestClientHelloInPieces(t *testing.T) {
	for _, test := range []struct {
		name string
		wrap func(net.Conn) net.Conn
	}{
		{"bytes", func(nc net.Conn) net.Conn { return &cutter{Conn: nc, size: 1} }},
		{"segments", func(nc net.Conn) net.Conn { return &cutter{Conn: nc, size: 1448} }},
		{"records", func(nc net.Conn) net.Conn { return &recorder{Conn: nc} }},
		{"records in bytes", func(nc net.Conn) net.Conn { return &recorder{Conn: &cutter{Conn: nc, size: 1}} }},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, _, _ := serve(t, &Handler{Config: newConfig(t), ALPN: map[string]handlers.Handler{"x": newEcho()}})
			tc := tls.Client(test.wrap(client), clientConfig())
			checkEcho(t, tc)
		})
	}
}

// TRAPS part 1, row 33: a client that is slow but in time gets a connection that goes on working.
func TestTraps1Row33SlowClientIsNotHandedOutDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Handler{Config: newConfig(t), ALPN: map[string]handlers.Handler{"x": newEcho()}, HandshakeTimeout: 2 * time.Second}
		client, _, p := serve(t, h)
		slow := &cutter{Conn: client, size: 512, pause: 100 * time.Millisecond}
		tc := tls.Client(slow, clientConfig())
		if err := tc.Handshake(); err != nil {
			t.Fatal(err)
		}
		slow.pause = 0
		time.Sleep(time.Hour) // the inner handler has the idle timeouts
		checkEcho(t, tc)
		client.Close()
		if err := p.err(t); err != nil {
			t.Errorf("Fail(%v), want none", err)
		}
	})
}

// TRAPS part 5, row 2, and part 2, row 7: a client that stops anywhere in its handshake is
// disconnected at the deadline and not before, even if it drips bytes. The inner handler does not
// get it.
func TestTraps5Row2StalledHandshakeIsGoneAtTheDeadline(t *testing.T) {
	for _, test := range []struct {
		name    string
		client  cutter
		timeout time.Duration
		want    time.Duration
	}{
		{"first bytes", cutter{size: 1, most: 2}, 2 * time.Second, 2 * time.Second},
		{"within the ClientHello", cutter{size: 1, most: 700}, 2 * time.Second, 2 * time.Second},
		{"drips", cutter{size: 1, pause: 500 * time.Millisecond}, 2 * time.Second, 2 * time.Second},
		{"after the ServerHello", cutter{size: 1, most: len(clientHello(t, clientConfig())) + 20}, 2 * time.Second, 2 * time.Second},
		{"default", cutter{size: 1, most: 2}, 0, 10 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner := newEcho()
				h := &Handler{Config: newConfig(t), ALPN: map[string]handlers.Handler{"x": inner}, HandshakeTimeout: test.timeout}
				start := time.Now()
				client, c, p := serve(t, h)
				stalled := test.client
				stalled.Conn = client
				done := make(chan struct{})
				go func() { // ends when the server closes
					defer close(done)
					_ = tls.Client(&stalled, clientConfig()).Handshake()
					_, _ = io.Copy(io.Discard, client)
				}()
				<-c.closed
				if got := time.Since(start); got != test.want {
					t.Errorf("closed after %v, want %v", got, test.want)
				}
				if err := p.err(t); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("Fail(%v), want %v", err, os.ErrDeadlineExceeded)
				}
				if p.info.Protocol != handlers.ProtocolTLS {
					t.Errorf("Fail for protocol %q, want %q", p.info.Protocol, handlers.ProtocolTLS)
				}
				if len(inner.served)+len(p.routed) > 0 {
					t.Error("the connection was passed on")
				}
				<-done
			})
		})
	}
}

func TestNoHandshakeTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, c, p := serve(t, &Handler{Config: newConfig(t), HandshakeTimeout: -1})
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if !c.open() {
			t.Error("closed, want open")
		}
		client.Close()
		if err := p.err(t); !errors.Is(err, io.EOF) {
			t.Errorf("Fail(%v), want %v", err, io.EOF)
		}
	})
}

// Bytes that are not a ClientHello are answered with an alert, where TLS has one for them, and
// never passed on.
func TestGarbage(t *testing.T) {
	for _, test := range []struct {
		name, in string
		alert    byte // 0: no alert
	}{
		{name: "no handshake message", in: "\x16\x03\x01\x00\x05hello", alert: alertInternalError},
		{name: "unknown handshake message", in: "\x16\x03\x01\x00\x04h\x00\x00\x00", alert: alertUnexpectedMessage},
		{name: "a ClientHello that is none", in: "\x16\x03\x01\x00\x06\x01\x00\x00\x02zz", alert: alertDecodeError},
		{name: "ServerHello", in: "\x16\x03\x01\x00\x04\x02\x00\x00\x00", alert: alertDecodeError},
		{name: "SSLv2", in: "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10", alert: alertProtocolVersion},
		{name: "raw", in: "hello, world\n"},
		{name: "an alert", in: "\x15\x03\x01\x00\x02\x02\x28"},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, c, p := serveTCP(t, &Handler{Config: newConfig(t)})
			if _, err := io.WriteString(client, test.in+"more, which nobody reads"); err != nil {
				t.Fatal(err)
			}
			if err := client.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(client)
			if err != nil {
				t.Errorf("the answer ends with %v, want nil", err)
			}
			if test.alert != 0 {
				checkAlert(t, got, test.alert)
			} else if len(got) > 0 {
				t.Errorf("answer = %x, want none", got)
			}
			if err := p.err(t); err == nil || c.open() || len(p.routed) > 0 {
				t.Errorf("Fail(%v), open %t, routed %d, want an error, false, 0", err, c.open(), len(p.routed))
			}
		})
	}
}

func TestOldVersionsGetAnAlert(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			config := newConfig(t)
			config.MinVersion = tls.VersionTLS10 // has no effect
			client, _, p := serve(t, &Handler{Config: config})
			tapped := &tap{Conn: client}
			if err := tls.Client(tapped, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: version}).Handshake(); err == nil {
				t.Error("the handshake is complete, want an alert")
			}
			checkAlert(t, tapped.in.Bytes(), alertProtocolVersion)
			client.Close()
			if err := p.err(t); err == nil {
				t.Error("no Fail")
			}
		})
	}
}

// An alert is not lost if the client has sent more than was read. Closing at once would reset the
// connection.
func TestAlertReachesAClientThatSendsOn(t *testing.T) {
	for range 20 {
		client, _, p := serveTCP(t, &Handler{Config: newConfig(t)})
		if _, err := client.Write(append(clientHello(t, clientConfig()), make([]byte, 100<<10)...)); err != nil {
			t.Fatal(err)
		}
		if err := client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(client)
		if err != nil {
			t.Fatalf("Read = %v, want EOF", err)
		}
		checkAlert(t, got, alertNoApplicationProtocol)
		if err := p.err(t); !errors.Is(err, ErrALPN) {
			t.Errorf("Fail(%v), want %v", err, ErrALPN)
		}
	}
}

// clientHello returns the ClientHello of crypto/tls.
func clientHello(tb testing.TB, config *tls.Config) []byte {
	tb.Helper()
	client, server := net.Pipe()
	defer server.Close()
	done := make(chan struct{})
	go func() { // ends when client is closed
		defer close(done)
		_ = tls.Client(client, config).HandshakeContext(context.Background())
	}()
	buf := make([]byte, 4<<10)
	n, err := server.Read(buf)
	if err != nil {
		tb.Fatal(err)
	}
	client.Close()
	<-done
	return bytes.Clone(buf[:n])
}

func TestNoConfig(t *testing.T) {
	_, c, p := serve(t, &Handler{})
	if err := p.err(t); !errors.Is(err, handlers.ErrPolicy) || c.open() {
		t.Errorf("Fail(%v), open %t, want %v, false", err, c.open(), handlers.ErrPolicy)
	}
}

// A panic costs only its connection.
func TestPanic(t *testing.T) {
	inner := handlers.HandlerFunc(func(handlers.Conn, handlers.Port) { panic("boom") })
	client, c, p := serve(t, &Handler{Config: newConfig(t), ALPN: map[string]handlers.Handler{"x": inner}})
	if err := tls.Client(client, clientConfig()).Handshake(); err != nil {
		t.Fatal(err)
	}
	<-c.closed
	if err := p.err(t); !errors.Is(err, handlers.ErrPanic) {
		t.Errorf("Fail(%v), want %v", err, handlers.ErrPanic)
	}
}

// Closing the inner connection closes the outer one, which frees its place.
func TestCloseReachesTheOuterConnection(t *testing.T) {
	client, c, _ := serve(t, &Handler{Config: newConfig(t), ALPN: map[string]handlers.Handler{"x": handlers.Refuse}})
	tc := tls.Client(client, clientConfig())
	if _, err := io.ReadAll(tc); err != nil {
		t.Errorf("Read = %v, want EOF by close_notify", err)
	}
	<-c.closed
}
