package portluck

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stoppedEnv makes this binary a server that echoes, whose bounds are all this long. A name before it
// chooses how it accepts and drives connections.
const stoppedEnv = "PORTLUCK_STOPPED"

func init() {
	how, bound, ok := strings.Cut(os.Getenv(stoppedEnv), " ")
	d, err := time.ParseDuration(bound)
	if !ok || err != nil {
		return
	}
	s := &Server{Hub: echoHub(), SniffTimeout: d, Timeout: d, MessageTimeout: d, Goroutines: how != "epoll"}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		os.Exit(1)
	}
	fmt.Println(l.Addr())
	go func() { // ends the process with its input
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	if how == "read" {
		l = hiding{l}
	}
	s.Serve(l)
}

// Who has sent something while the process stood still, for longer than it waits for anybody, is
// served: it is judged only after what it has sent was read.
func TestStoppedProcess(t *testing.T) {
	const upgrade = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
	kinds := []stoppedKind{
		{"a line", "a\n", "a\n", "b\n", "", "b\n"},
		{"half a line", "a\n", "a\n", "hel", "lo\n", "hello\n"},
		{"the rest of a line", "a\nhel", "a\n", "lo\n", "", "hello\n"},
		{"a frame", upgrade, "\r\n\r\n", "\x81\x85\x00\x00\x00\x00hello", "", "\x81\x05hello"},
		{"half a frame", upgrade, "\r\n\r\n", "\x81\x85\x00\x00", "\x00\x00hello", "\x81\x05hello"},
		{"half of the first bytes", "GE", "", "T / HTTP/1.1\r\nHost: localhost\r\n\r\n", "", "HTTP/1.1 405"},
		{"a head in three", "PO", "", "ST / HTTP/1.1\r\n", "Host: localhost\r\nContent-Length: 2\r\n\r\na\n", "HTTP/1.1 200"},
	}
	for _, how := range []string{"epoll", "goroutines", "read"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			for bound := time.Second; !stopped(t, how, bound, kinds); bound *= 2 {
			}
		})
	}
}

// A stoppedKind is a kind of client: what it says at first and hears, says while the process stands still,
// says then, and wants to hear.
type stoppedKind struct{ name, first, hear, second, third, want string }

// stopped tries clients of these kinds. It is false, and nothing was tried, when the machine is too busy
// for that bound.
func stopped(t *testing.T, how string, bound time.Duration, kinds []stoppedKind) bool {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), stoppedEnv+"="+how+" "+bound.String())
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
	const each = 40
	begin := time.Now()
	conns := make([]*net.TCPConn, each*len(kinds))
	for i := range conns {
		conns[i] = dial(t, strings.TrimSpace(line))
		_, _ = io.WriteString(conns[i], kinds[i%len(kinds)].first)
	}
	for i, c := range conns {
		if _, e := hearUntil(c, kinds[i%len(kinds)].hear); e != nil {
			err = e // no fault if the machine was too busy
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
	for i, c := range conns {
		send(t, c, kinds[i%len(kinds)].second)
	}
	pauseFor(bound * 5 / 4)
	_ = cmd.Process.Signal(syscall.SIGCONT)
	for i, c := range conns {
		send(t, c, kinds[i%len(kinds)].third)
	}
	for i, c := range conns {
		kind := kinds[i%len(kinds)]
		if got, err := hearUntil(c, kind.want); err != nil {
			t.Errorf("%s: read %q, %v, want %q", kind.name, got, err, kind.want)
		}
	}
	return true
}

// hearUntil reads until want has come.
func hearUntil(c io.Reader, want string) (string, error) {
	var got []byte
	buf := make([]byte, 4<<10)
	for !strings.Contains(string(got), want) {
		n, err := c.Read(buf)
		if got = append(got, buf[:n]...); err != nil {
			return string(got), err
		}
	}
	return string(got), nil
}
