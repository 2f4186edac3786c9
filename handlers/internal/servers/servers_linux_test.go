package servers

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers/alldata"
	"github.com/portluck/portluck/handlers/callosum"
	"github.com/portluck/portluck/handlers/tcp"
	"github.com/portluck/portluck/testdata/need"
)

// A served is a server that has a port of its own.
type served struct {
	name  string
	start func(addr string) (at string, stop func(), err error)
	// What a client sends, and the end of the answer.
	say, hear string
}

func servers() []served {
	echo := &tcp.Events{OnData: func(s *tcp.Stream, p []byte) { s.Write(p) }}
	slots := func() *callosum.Server {
		return &callosum.Server{Handler: &callosum.Handler{OnConnection: func(_ context.Context, c *callosum.Conn) {
			_, _ = io.Copy(c, c)
		}}}
	}
	const put = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n[\"_put\",1"
	return []served{
		{"tcp.Server.Listen", func(addr string) (string, func(), error) {
			s := &tcp.Server{Events: echo}
			if err := s.Listen("tcp", addr); err != nil {
				return "", nil, err
			}
			return s.Addr().String(), func() { s.Close() }, nil
		}, "hello", "hello"},
		{"tcp.Server.ListenOn", func(addr string) (string, func(), error) {
			l, err := net.Listen("tcp", addr)
			if err != nil {
				return "", nil, err
			}
			s := &tcp.Server{Events: echo, Goroutines: true}
			return l.Addr().String(), func() { s.Close() }, s.ListenOn(l)
		}, "hello", "hello"},
		{"callosum.Server.ListenAndServe", func(addr string) (string, func(), error) {
			s := slots()
			s.Addr = addr
			ended := make(chan error, 1)
			go func() { ended <- s.ListenAndServe() }() // ends with Close
			for len(s.Addrs()) == 0 {
				select {
				case err := <-ended:
					return "", nil, err
				case <-time.After(time.Millisecond):
				}
			}
			return s.Addrs()[0].String(), func() { s.Close() }, nil
		}, "hello", "\r\nhello"},
		{"callosum.Server.Serve", func(addr string) (string, func(), error) {
			l, err := net.Listen("tcp", addr)
			if err != nil {
				return "", nil, err
			}
			s := slots()
			go s.Serve(l) // ends with Close
			return l.Addr().String(), func() { s.Close() }, nil
		}, "hello", "\r\nhello"},
		{"alldata.Server.Listen", func(addr string) (string, func(), error) {
			s := &alldata.Server{Addr: addr, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(w, r.Body)
			})}
			at, err := s.Listen()
			if err != nil {
				return "", nil, err
			}
			return at.String(), func() { s.Close() }, nil
		}, put, "\r\n\r\n[\"_put\",1"},
	}
}

// Urgent data is read as data, wherever it is in the stream.
func TestServersUrgentData(t *testing.T) {
	for _, s := range servers() {
		t.Run(s.name, func(t *testing.T) {
			at, stop, err := s.start("127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			for _, mark := range []int{0, 2, len(s.say) - 1} {
				if err := urgently(at, s, mark); err != nil {
					t.Errorf("urgent byte %d: %v", mark, err)
				}
			}
		})
	}
}

// urgently sends what s answers, with an urgent byte at mark.
func urgently(at string, s served, mark int) error {
	c, err := net.Dial("tcp", at)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(c, s.say[:mark]); err != nil {
		return err
	}
	if ctl := raw.Control(func(fd uintptr) {
		err = syscall.Sendto(int(fd), []byte(s.say[mark:mark+1]), syscall.MSG_OOB, nil)
	}); ctl != nil || err != nil {
		return fmt.Errorf("%w, %w", ctl, err)
	}
	if _, err := io.WriteString(c, s.say[mark+1:]); err != nil {
		return err
	}
	var got []byte
	for buf := make([]byte, 512); !bytes.HasSuffix(got, []byte(s.hear)); {
		n, err := c.Read(buf)
		if got = append(got, buf[:n]...); err != nil {
			return fmt.Errorf("%q: %w", got, err)
		}
	}
	return nil
}

// serveEnv makes this test binary start each server without a host and dial it at ::1.
const serveEnv = "PORTLUCK_SERVE"

func init() {
	if os.Getenv(serveEnv) == "" {
		return
	}
	for _, s := range servers() {
		switch s.name {
		case "tcp.Server.ListenOn", "callosum.Server.Serve": // the program listens itself
			continue
		}
		at, stop, err := s.start(":0")
		if err == nil {
			_, port, _ := net.SplitHostPort(at)
			err = urgently(net.JoinHostPort("::1", port), s, 0)
			stop()
		}
		fmt.Println(s.name, err)
	}
	os.Exit(0)
}

// A server without a host listens on the addresses that the machine has. Package net finds out only
// once which families there are.
func TestServersWithIPv6Only(t *testing.T) {
	ip := need.Namespaces(t)
	ended := make(chan error, 1)
	go func() { // ends with the process that it starts
		runtime.LockOSThread() // the thread stays in its namespace
		ended <- func() error {
			if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
				return err
			}
			for _, args := range [][]string{{"link", "set", "lo", "up"}, {"addr", "del", "127.0.0.1/8", "dev", "lo"}} {
				if out, err := exec.Command(ip, args...).CombinedOutput(); err != nil {
					return fmt.Errorf("ip %v: %w: %s", args, err, out)
				}
			}
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), serveEnv+"=1")
			out, err := cmd.CombinedOutput()
			const want = "tcp.Server.Listen <nil>\ncallosum.Server.ListenAndServe <nil>\nalldata.Server.Listen <nil>\n"
			if string(out) != want || err != nil {
				return fmt.Errorf("%s%w, want\n%s", out, err, want)
			}
			return nil
		}()
	}()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
