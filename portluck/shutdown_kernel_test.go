//go:build linux

package portluck

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/portluck/portluck/testdata/need"
)

// kernelEnv makes this binary the server of TestShutdownServesWhatTheKernelHas.
const kernelEnv = "PORTLUCK_SHUTDOWN"

func init() {
	how := os.Getenv(kernelEnv)
	if how == "" {
		return
	}
	runtime.GOMAXPROCS(1)
	var mu sync.Mutex
	s := &Server{
		Hub: echoHub(), TLSConfig: withTLS(), SniffTimeout: time.Minute, Goroutines: strings.Contains(how, "goroutines"),
		ProxyFrom: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")},
		OnVerdict: func(Verdict) { // slow: 50 ms are over long before all are decided
			mu.Lock()
			defer mu.Unlock()
			for begin := time.Now(); time.Since(begin) < 500*time.Microsecond; {
			}
		},
	}
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	fmt.Println(l.Addr())
	if strings.Contains(how, "read") {
		l = hiding{l}
	}
	go s.Serve(l) // ends with the process
	bufio.NewReader(os.Stdin).ReadString('\n')
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	err := s.Shutdown(ctx)
	cancel()
	fmt.Println(err, s.Stats().Open)
	os.Exit(0)
}

// kernelClients are the kinds of clients: what each does before the server process is stopped, and
// what it sends meanwhile, which then waits in the kernel.
var kernelClients = []struct {
	name, from string
	prepare    func(t *testing.T, c net.Conn) net.Conn
	send, ends string
}{
	{"raw", "", asIs, "{hi}\n", "{hi}\n"},
	{"POST", "", asIs, closingPost, "hi\n"},
	{"the second POST", "", posted, closingPost, "hi\n"},
	{"WebSocket", "", shaken, "\x81\x83\x00\x00\x00\x00{x}", "\x81\x03{x}\x88\x19\x03\xe9server is shutting down"},
	{"a handshake", "", asIs, handshakeWS + "\x81\x83\x00\x00\x00\x00{x}", "\x81\x03{x}\x88\x19\x03\xe9server is shutting down"},
	{"TLS", "", inTLS(), "{hi}\n", "{hi}\n"},
	{"TLS with ALPN", "", inTLS("http/1.1"), closingPost, "hi\n"},
	{"the second POST in TLS", "", func(t *testing.T, c net.Conn) net.Conn { return posted(t, inTLS("http/1.1")(t, c)) }, closingPost, "hi\n"},
	{"HTTP in TLS", "", inTLS(), closingPost, "hi\n"},
	{"behind a proxy", "127.0.0.2", asIs, proxyHead + closingPost, "hi\n"},
	{"half behind a proxy", "127.0.0.2", func(t *testing.T, c net.Conn) net.Conn { send(t, c, proxyHead); return c }, "{hi}\n", "{hi}\n"},
}

const (
	closingPost = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
	handshakeWS = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)

func asIs(_ *testing.T, c net.Conn) net.Conn { return c }

func inTLS(protos ...string) func(t *testing.T, c net.Conn) net.Conn {
	return func(t *testing.T, c net.Conn) net.Conn {
		tc := tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: protos})
		if err := tc.Handshake(); err != nil {
			t.Fatal(err)
		}
		return tc
	}
}

func posted(t *testing.T, c net.Conn) net.Conn {
	send(t, c, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); string(body) != "hi\n" || err != nil {
		t.Fatalf("read %q, %v", body, err)
	}
	return c
}

func shaken(t *testing.T, c net.Conn) net.Conn {
	send(t, c, handshakeWS)
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 101 {
		t.Fatalf("the handshake is answered with %v, %v", resp, err)
	}
	return c
}

// What clients have sent before Shutdown is served, even if the server has not read it yet. Half of
// the connections are still in the accept queue.
func TestShutdownServesWhatTheKernelHas(t *testing.T) {
	n := 220
	long := need.Long()
	if long {
		n = 8000
	}
	for _, how := range []string{"peeked", "read", "peeked, goroutines", "read, goroutines"} {
		t.Run(how, func(t *testing.T) {
			if !long { // there are not so many descriptors
				t.Parallel()
			}
			shutdownWithClients(t, how, n)
		})
	}
}

func shutdownWithClients(t *testing.T, how string, n int) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), kernelEnv+"="+how)
	stdin, stdout := must(cmd.StdinPipe()), must(cmd.StdoutPipe())
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	out := bufio.NewReader(stdout)
	addr := strings.TrimSpace(must(out.ReadString('\n')))
	clients := make([]net.Conn, n)
	open := func(i int) {
		kind := kernelClients[i%len(kernelClients)]
		d := net.Dialer{}
		if kind.from != "" {
			d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(kind.from)}
		}
		c, err := d.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(2 * time.Minute))
		clients[i] = c
	}
	// Clients that need an answer first, and half of the others, are accepted before the server is
	// stopped.
	waits := func(i int) bool {
		kind := i % len(kernelClients)
		return i%2 == 0 || kind >= 2 && kind != 4 && kind != 9
	}
	for i := range clients {
		if waits(i) {
			open(i)
			clients[i] = kernelClients[i%len(kernelClients)].prepare(t, clients[i])
		}
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for i := range clients {
		if !waits(i) {
			open(i)
		}
		send(t, clients[i], kernelClients[i%len(kernelClients)].send)
	}
	fmt.Fprintln(stdin)
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	lost := map[string]int{}
	for i, c := range clients {
		kind := kernelClients[i%len(kernelClients)]
		if got, err := io.ReadAll(c); err != nil || !strings.HasSuffix(joined(string(got)), kind.ends) {
			if lost[kind.name]++; lost[kind.name] == 1 {
				t.Errorf("%s: read %q, %v", kind.name, got, err)
			}
		}
		c.Close()
	}
	if len(lost) > 0 {
		t.Errorf("lost of %d of each kind: %v", n/len(kernelClients), lost)
	}
	if got, err := out.ReadString('\n'); got != "<nil> 0\n" {
		t.Errorf("Shutdown() = %q, %v; want nil, and no connection open", got, err)
	}
}
