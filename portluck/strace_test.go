//go:build linux

package portluck

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/portluck/portluck/testdata/need"
)

// straceEnv makes this binary an echo server that also serves the files of a directory.
const straceEnv = "PORTLUCK_STRACE"

func init() {
	dir := os.Getenv(straceEnv)
	if dir == "" {
		return
	}
	s := &Server{Hub: echoHub(), Pages: http.FileServer(http.Dir(dir))}
	all, err := Listen("127.0.0.1:0")
	if err != nil {
		os.Exit(1)
	}
	l := all[0]
	fmt.Println(l.Addr())
	go func() { // ends the process at the end of its input
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	s.Serve(l)
}

// traced runs an echo server, which also serves the files of dir, under strace while f talks to it.
// It returns the output of strace.
func traced(t *testing.T, dir string, f func(addr string), options ...string) string {
	t.Helper()
	strace := need.Program(t, "strace")
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command(strace, append(options, "-f", "-o", trace, os.Args[0])...)
	cmd.Env = append(os.Environ(), straceEnv+"="+dir)
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		cmd.Wait()
	}()
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	f(strings.TrimSpace(addr))
	in.Close()
	cmd.Wait()
	said, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	return string(said)
}

// A file over HTTP does not pass through user memory.
func TestTraps1Row30Sendfile(t *testing.T) {
	dir := t.TempDir()
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
	if err := os.WriteFile(filepath.Join(dir, "big"), want, 0o644); err != nil {
		t.Fatal(err)
	}
	calls := traced(t, dir, func(addr string) {
		resp, err := http.Get("http://" + addr + "/big")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		http.DefaultClient.CloseIdleConnections()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}, "-e", "trace=sendfile")
	if !strings.Contains(calls, "sendfile(") {
		t.Errorf("no sendfile in the trace: %.300s", calls)
	}
}

// schedulerCalls matches the calls of Go's scheduler, allocator and signals, which belong to no
// connection. Their number depends on what else the machine does.
var schedulerCalls = regexp.MustCompile(`^(futex|nanosleep|sched_\w+|epoll_pwait|epoll_wait|m(un)?map|mprotect|madvise|` +
	`rt_\w+|sigaltstack|tgkill|get[pt]id|clone3?|rseq|set_robust_list|restart_syscall|exit|exit_group|clock_\w+|timer_\w+)$`)

// schedulerWakes occurs in each write and read of an eventfd, by which Go's scheduler wakes its
// poller and the loop wakes a runner.
const schedulerWakes = `"\1\0\0\0\0\0\0\0", 8`

// TestSystemCallsOfAShortConnection counts the system calls of the server for one connection:
// connect, a line, its echo, close. It takes the cheapest of several connections, because one that
// the machine delays for a millisecond needs more calls.
func TestSystemCallsOfAShortConnection(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, say, hear string
		most            int
	}{
		{"raw line", benchLine, benchLine, 8},
		{"POST", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\na\n", "HTTP/1.1 200", 6},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			const n = 200
			each := ioCalls(t, n, test.say, test.hear)
			if len(each) < n-1 {
				t.Fatalf("%d connections in the trace, want %d", len(each), n-1)
			}
			slices.SortFunc(each, func(a, b []string) int { return len(a) - len(b) })
			got := each[len(each)/10]
			if t.Logf("%d I/O system calls a connection: %s", len(got), got); len(got) > test.most {
				t.Errorf("%d I/O system calls a connection, want at most %d: %s", len(got), test.most, got)
			}
		})
	}
}

var (
	callBegins  = regexp.MustCompile(`^\d+ +(\w+)\(`)
	callResumes = regexp.MustCompile(`^\d+ +<\.\.\. (\w+) resumed>`)
	// a line on which it has returned a descriptor
	callAccepts = regexp.MustCompile(`accept4.*= \d+\n?$`)
)

// without returns calls without the last call of this name.
func without(calls []string, name string) []string {
	for i := len(calls) - 1; i >= 0; i-- {
		if calls[i] == name {
			return slices.Delete(calls, i, i+1)
		}
	}
	return calls
}

// ioCalls makes n connections, one after the other, and returns the server's I/O system calls from
// each accept to the next.
func ioCalls(t *testing.T, n int, say, hear string) (each [][]string) {
	t.Helper()
	trace := traced(t, t.TempDir(), func(addr string) {
		for range n {
			if err := shortConn(addr, say, hear); err != nil {
				t.Fatal(err)
			}
		}
	})
	var calls []string
	accepted := 0
	for line := range strings.Lines(trace) {
		if strings.Contains(line, schedulerWakes) {
			if resumed := callResumes.FindStringSubmatch(line); resumed != nil {
				calls = without(calls, resumed[1]) // it was counted where it began
			}
			continue
		}
		if name := callBegins.FindStringSubmatch(line); name != nil && !schedulerCalls.MatchString(name[1]) {
			calls = append(calls, name[1])
		}
		if callAccepts.MatchString(line) {
			if accepted++; accepted > 1 {
				each = append(each, calls)
			}
			calls = nil
		}
	}
	return each
}
