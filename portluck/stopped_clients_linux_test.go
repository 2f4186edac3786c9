package portluck

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// A stoppedKind is a kind of client. start prepares a client up to the moment when the server
// process is stopped. An error of start is not a failure if the machine was too busy for the bound.
type stoppedKind struct {
	name  string
	start func(t *testing.T, addr string) (stoppedClient, error)
}

// A stoppedClient is ready to be stopped when ready returns. What during sends waits in the kernel
// while the process is stopped. hear then checks the answer to that and to what after sends.
type stoppedClient struct {
	ready         func() error
	during, after func()
	hear          func() error
}

func isReady() error { return nil }

// saying returns a client that sends first and waits for hear, sends second while the process is
// stopped, then sends third and waits for want. network is tcp, udp, tls, or a protocol that the
// client offers by ALPN.
func saying(name, network, first, hear, second, third, want string) stoppedKind {
	return stoppedKind{name, func(t *testing.T, addr string) (stoppedClient, error) {
		var c net.Conn
		config := &tls.Config{InsecureSkipVerify: true}
		switch network {
		case "tcp":
			c = dial(t, addr)
		case "udp":
			c = must(net.Dial("udp", addr))
			t.Cleanup(func() { c.Close() })
			_ = c.SetDeadline(time.Now().Add(patience))
		case "tls":
			c = tls.Client(dial(t, addr), config)
		default:
			config.NextProtos = []string{network}
			c = tls.Client(dial(t, addr), config)
		}
		if _, err := io.WriteString(c, first); err != nil {
			return stoppedClient{}, err
		}
		heard := ""
		return stoppedClient{
			func() (err error) {
				heard, err = hearUntil(c, hear)
				return err
			},
			func() { send(t, c, second) },
			func() { send(t, c, third) },
			func() error {
				got, err := hearUntil(c, want)
				if err == nil && network == "udp" && got != heard { // after that much time it is a new client
					err = fmt.Errorf("heard %q, and %q before", got, heard)
				}
				return err
			},
		}, nil
	}}
}

// hearUntil reads until want has come.
func hearUntil(c io.Reader, want string) (string, error) {
	var got []byte
	buf := make([]byte, 4<<10)
	for !strings.Contains(string(got), want) {
		n, err := c.Read(buf)
		if got = append(got, buf[:n]...); err != nil {
			return string(got), fmt.Errorf("heard %q, %w, want %q", got, err, want)
		}
	}
	return string(got), nil
}

// hears returns hearUntil as a step of a stoppedClient.
func hears(c io.Reader, want string) func() error {
	return func() error {
		_, err := hearUntil(c, want)
		return err
	}
}

// shaking returns a client whose last message of the TLS handshake (Finished) waits in the kernel.
func shaking(protocols ...string) stoppedKind {
	return stoppedKind{"half a TLS handshake", func(t *testing.T, addr string) (stoppedClient, error) {
		gate := &gated{Conn: dial(t, addr), at: make(chan struct{}), open: make(chan struct{})}
		c := tls.Client(gate, &tls.Config{InsecureSkipVerify: true, NextProtos: protocols})
		done, open := make(chan error, 1), sync.OnceFunc(func() { close(gate.open) })
		t.Cleanup(open)
		// ends with the handshake, or when the test's connection closes
		go func() { done <- c.Handshake() }()
		select {
		case <-gate.at:
		case err := <-done:
			return stoppedClient{}, err
		}
		during := func() {
			open()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		return stoppedClient{isReady, during, func() { send(t, c, stoppedPost) }, hears(c, "a\n")}, nil
	}}
}

// gated is a connection that holds its second Write back.
type gated struct {
	net.Conn
	writes   int
	at, open chan struct{}
}

func (g *gated) Write(p []byte) (int, error) {
	if g.writes++; g.writes == 2 {
		close(g.at)
		<-g.open
	}
	return g.Conn.Write(p)
}

// overHTTP2 returns a client of HTTP/2 that has had one answer. While the process is stopped it
// sends the rest of a body, or another request.
func overHTTP2(name string, body bool) stoppedKind {
	return stoppedKind{name, func(t *testing.T, addr string) (stoppedClient, error) {
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
		t.Cleanup(transport.CloseIdleConnections)
		in, out := io.Pipe()
		req := must(http.NewRequestWithContext(t.Context(), "POST", "https://"+addr, in))
		go io.WriteString(out, "a\nhel") // ends when it is sent
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return stoppedClient{}, err
		}
		if body {
			return stoppedClient{hears(resp.Body, "a\n"), func() { send(t, out, "lo\n") }, func() {}, hears(resp.Body, "hello\n")}, nil
		}
		out.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		done := make(chan string)
		ask := func() {
			again := must(http.NewRequestWithContext(t.Context(), "POST", "https://"+addr, strings.NewReader("b\n")))
			resp, err := transport.RoundTrip(again)
			if err != nil {
				done <- err.Error()
				return
			}
			defer resp.Body.Close()
			done <- string(must(io.ReadAll(resp.Body)))
		}
		// ask ends with its answer
		return stoppedClient{isReady, func() { go ask() }, func() {}, func() error {
			if got := <-done; got != "b\n" {
				return fmt.Errorf("heard %q", got)
			}
			return nil
		}}, nil
	}}
}

const (
	stoppedUpgrade = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
	stoppedFrame = "\x81\x85\x00\x00\x00\x00hello"
	stoppedPost  = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\na\n"
	stoppedBody  = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\na\nhel"
	stoppedPut   = "POST /_put HTTP/1.1\r\nHost: localhost\r\nContent-Length: 21\r\n\r\n"
)

// stoppedKinds returns the clients of a server whose bounds are all short.
func stoppedKinds() []stoppedKind {
	all := []stoppedKind{
		saying("the first bytes, in two", "tcp", "GE", "", "T / HTTP/1.1\r\nHost: localhost\r\n\r\n", "", "HTTP/1.1 405"),
		saying("a head in three", "tcp", "PO", "", "ST / HTTP/1.1\r\n", stoppedPost[len("POST / HTTP/1.1\r\n"):], "HTTP/1.1 200"),
		saying("a datagram", "udp", "who", "you are ", "who", "", "you are "),
		shaking(), shaking("http/1.1"),
		overHTTP2("a request of HTTP/2", false), overHTTP2("a body of HTTP/2", true),
	}
	for _, n := range []string{"tcp", "tls", "http/1.1"} {
		if n != "http/1.1" {
			all = append(all,
				saying("a line, "+n, n, "a\n", "a\n", "b\n", "", "b\n"),
				saying("half a line, "+n, n, "a\n", "a\n", "hel", "lo\n", "hello\n"),
				saying("the rest of a line, "+n, n, "a\nhel", "a\n", "lo\n", "", "hello\n"))
		}
		all = append(all,
			saying("a frame, "+n, n, stoppedUpgrade, "\r\n\r\n", stoppedFrame, "", "\x81\x05hello"),
			saying("half a frame, "+n, n, stoppedUpgrade, "\r\n\r\n", stoppedFrame[:6], stoppedFrame[6:], "\x81\x05hello"),
			saying("the next request, "+n, n, stoppedPost, "a\n", strings.Replace(stoppedPost, "a\n", "b\n", 1), "", "b\n"),
			saying("the next head, "+n, n, stoppedPost, "a\n", stoppedPost[:30], stoppedPost[30:], "a\n"),
			saying("the rest of a head, "+n, n, stoppedPost+stoppedPost[:30], "a\n", stoppedPost[30:], "", "a\n"),
			saying("half a body, "+n, n, stoppedBody, "a\n", "l", "o\n", "hello\n"),
			saying("the rest of a body, "+n, n, stoppedBody, "a\n", "lo\n", "", "hello\n"),
			saying("an event, "+n, n, stoppedPost+stoppedPut+`{"key":`, "a\n", `"k","e`, `vent":1}`, "HTTP/1.1 201"))
	}
	return all
}

// pingedKinds returns clients that were pinged, and that answer.
func pingedKinds() []stoppedKind {
	var all []stoppedKind
	for _, n := range []string{"tcp", "tls", "http/1.1"} {
		all = append(all, saying("a pong, "+n, n, stoppedUpgrade, "\x89\x00", "\x8a\x80\x00\x00\x00\x00", stoppedFrame, "\x81\x05hello"))
	}
	return all
}
