package portluck

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers/alldata"
	"github.com/portluck/portluck/handlers/udp"
)

// stoppedEnv makes this binary a server that echoes, whose bounds are all as long as it says. A name
// before that chooses how it accepts and drives connections; behind pings, PingInterval alone is short.
const stoppedEnv = "PORTLUCK_STOPPED"

func init() {
	how, bound, ok := strings.Cut(os.Getenv(stoppedEnv), " ")
	bound, pings := strings.CutSuffix(bound, " pings")
	d, err := time.ParseDuration(bound)
	if !ok || err != nil {
		return
	}
	s := &Server{
		Hub: &Hub{OnMessage: func(m Message, w *Writer, c *Client) {
			if string(m.Data) == "who" {
				m.Data = strconv.AppendUint([]byte("you are "), c.ID(), 10)
			}
			_ = w.Send(m)
		}},
		SniffTimeout: d, HeaderTimeout: d, Timeout: d, MessageTimeout: d, PingInterval: -1,
		Goroutines: how != "epoll", TLSConfig: withTLS(), Packets: &udp.Server{Timeout: d},
	}
	if pings {
		s.SniffTimeout, s.HeaderTimeout, s.Timeout, s.MessageTimeout, s.PingInterval = 0, 0, 0, 0, d
	}
	s.Mount("POST /_put", &alldata.Handler{
		OnPut: func(context.Context, string, json.RawMessage) error { return nil }, ReadTimeout: d,
	})
	all, packets, err := s.listen("127.0.0.1:0")
	if err != nil {
		os.Exit(1)
	}
	fmt.Println(all[0].Addr())
	go func() { // ends the process with its input
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	go s.ServePacket(packets[0], s.Packets) // ends with the process
	if how == "read" {
		all[0] = hiding{all[0]}
	}
	s.Serve(all[0])
}

// A stoppedKind is a kind of client. start brings one to where the process is stopped.
type stoppedKind struct {
	name  string
	start func(t *testing.T, addr string) stoppedClient
}

// stoppedClient has begun, when ready returns. What during sends waits in the kernel while the process
// stands still, and then hear is to hear the answer to that and to what after sends.
type stoppedClient struct {
	ready         func() error
	during, after func()
	hear          func() error
}

func isReady() error { return nil }

// saying is a client that says first until it hears hear, second while the process stands still, and
// third until it hears want. network is tcp, udp, tls, or a protocol that is offered inside TLS.
func saying(name, network, first, hear, second, third, want string) stoppedKind {
	return stoppedKind{name, func(t *testing.T, addr string) stoppedClient {
		var c net.Conn
		switch network {
		case "tcp":
			c = dial(t, addr)
		case "udp":
			c = must(net.Dial("udp", addr))
			t.Cleanup(func() { c.Close() })
			_ = c.SetDeadline(time.Now().Add(patience))
		case "tls":
			c = dialTLS(t, addr)
		default:
			c = dialTLS(t, addr, network)
		}
		send(t, c, first)
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
				if err == nil && network == "udp" && got != heard { // it is a new client
					err = fmt.Errorf("heard %q, and %q before", got, heard)
				}
				return err
			},
		}
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

// hears is hearUntil as a step of a stoppedClient.
func hears(c io.Reader, want string) func() error {
	return func() error {
		_, err := hearUntil(c, want)
		return err
	}
}

// shaking is a client whose Finished waits in the kernel.
func shaking(protocols ...string) stoppedKind {
	return stoppedKind{"half a TLS handshake", func(t *testing.T, addr string) stoppedClient {
		gate := &gated{Conn: dial(t, addr), at: make(chan struct{}), open: make(chan struct{})}
		c := tls.Client(gate, &tls.Config{InsecureSkipVerify: true, NextProtos: protocols})
		done, open := make(chan error, 1), sync.OnceFunc(func() { close(gate.open) })
		t.Cleanup(open)
		go func() { done <- c.Handshake() }() // ends with the handshake, or when the test's connection closes
		<-gate.at
		during := func() {
			open()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		return stoppedClient{isReady, during, func() { send(t, c, stoppedPost) }, hears(c, "a\n")}
	}}
}

// gated holds its second Write.
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

// overHTTP2 is a client of HTTP/2 that has had an answer. While the process stands still it sends the rest
// of a body, or another request.
func overHTTP2(name string, body bool) stoppedKind {
	return stoppedKind{name, func(t *testing.T, addr string) stoppedClient {
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
		t.Cleanup(transport.CloseIdleConnections)
		in, out := io.Pipe()
		req := must(http.NewRequestWithContext(t.Context(), "POST", "https://"+addr, in))
		go io.WriteString(out, "a\nhel") // ends when it is sent
		resp := must(transport.RoundTrip(req))
		if body {
			return stoppedClient{hears(resp.Body, "a\n"), func() { send(t, out, "lo\n") }, func() {}, hears(resp.Body, "hello\n")}
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
		return stoppedClient{isReady, func() { go ask() }, func() {}, func() error { // ask ends with its answer
			if got := <-done; got != "b\n" {
				return fmt.Errorf("heard %q", got)
			}
			return nil
		}}
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

// stoppedKinds are the clients of a server whose bounds are all short.
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

// pingedKinds are clients that were pinged, and answer.
func pingedKinds() []stoppedKind {
	var all []stoppedKind
	for _, n := range []string{"tcp", "tls", "http/1.1"} {
		all = append(all, saying("a pong, "+n, n, stoppedUpgrade, "\x89\x00", "\x8a\x80\x00\x00\x00\x00", stoppedFrame, "\x81\x05hello"))
	}
	return all
}

// Who has sent something while the process stood still, for longer than it waits for anybody, is
// served: it is judged only after what it has sent was read.
func TestStoppedProcess(t *testing.T) {
	for _, how := range []string{"epoll", "goroutines", "read"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			for bound := time.Second; !stopped(t, how, bound, false, stoppedKinds()); bound *= 2 {
			}
		})
		t.Run(how+", pings", func(t *testing.T) {
			t.Parallel()
			for bound := time.Second; !stopped(t, how, bound, true, pingedKinds()); bound *= 2 {
			}
		})
	}
}

// stopped tries clients of these kinds. It is false, and nothing was tried, when the machine is too busy
// for that bound.
func stopped(t *testing.T, how string, bound time.Duration, pings bool, kinds []stoppedKind) bool {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), stoppedEnv+"="+how+" "+bound.String())
	if pings {
		cmd.Env[len(cmd.Env)-1] += " pings"
	}
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		_ = cmd.Wait()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	const each = 4
	var clients []stoppedClient
	begin := time.Now()
	if pings {
		begin = begin.Add(bound) // nobody is late before the ping
	}
	for range each {
		for _, k := range kinds {
			clients = append(clients, k.start(t, strings.TrimSpace(line)))
		}
	}
	for i, c := range clients {
		if e := c.ready(); e != nil && err == nil {
			err = fmt.Errorf("%s, before it: %w", kinds[i%len(kinds)].name, e)
		}
	}
	_ = cmd.Process.Signal(syscall.SIGSTOP)
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(cmd.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatal(err, status)
	}
	if took := time.Since(begin); took > bound*3/4 {
		t.Logf("it took %v until the process was stopped", took)
		_ = cmd.Process.Kill()
		return false
	}
	if err != nil {
		t.Error(err)
	}
	for _, c := range clients {
		c.during()
	}
	pauseFor(bound * 5 / 4)
	_ = cmd.Process.Signal(syscall.SIGCONT)
	for _, c := range clients {
		c.after()
	}
	for i, c := range clients {
		if err := c.hear(); err != nil {
			t.Errorf("%s: %v", kinds[i%len(kinds)].name, err)
		}
	}
	return true
}
