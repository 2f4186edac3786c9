//go:build linux

package portluck

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/soheilhy/cmux"
)

// The benchmarks measure the server alone: its clients run in processes of their own, which are
// this test binary. The benchmarks also report allocs/op and cpu-ns/op, the user and system time of
// this process. Compare cpu-ns/op only within one run.

// clientEnv names the variable with the work of a client process: kind, address and count.
const clientEnv = "PORTLUCK_BENCH_CLIENT"

func init() {
	work := strings.Fields(os.Getenv(clientEnv))
	if len(work) != 3 {
		return
	}
	n, err := strconv.Atoi(work[2])
	if err == nil {
		err = clients[work[0]](work[1], n)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// benchLine is long enough for cmux, whose matchers wait for 24 bytes.
const benchLine = `{"event":"temperature","value":21.5}` + "\n"

// clients maps each kind of work of a client process to its function.
var clients = map[string]func(addr string, n int) error{
	"line": func(addr string, n int) error { return shortConns(addr, n, benchLine, benchLine) },
	"post": func(addr string, n int) error {
		return shortConns(addr, n, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\na\n", "HTTP/1.1 200")
	},
	"keepalive": keepAlive,
	"websocket": webSockets,
	"silent":    silent,
}

// runClient runs a client process to its end.
func runClient(b testing.TB, kind, addr string, n int) {
	b.Helper()
	cmd := clientProcess(kind, addr, n)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("client: %v\n%s", err, out)
	}
}

func clientProcess(kind, addr string, n int) *exec.Cmd {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d", clientEnv, kind, addr, n))
	return cmd
}

// shortConns makes n connections, four at a time: say, hear, and close after the end of the answer.
func shortConns(addr string, n int, say, hear string) error {
	const workers = 4
	errs := make(chan error, workers)
	for w := range workers {
		go func() { // ends after its share
			for range (n + workers - 1 - w) / workers {
				if err := shortConn(addr, say, hear); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range workers {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

func shortConn(addr, say, hear string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, say); err != nil {
		return err
	}
	got := make([]byte, len(hear))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != hear {
		return fmt.Errorf("read %q, %w", got, err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, c)
	return err
}

// keepAlive sends n POST requests over four connections.
func keepAlive(addr string, n int) error {
	return fourConns(addr, n, func(c net.Conn, r *bufio.Reader) error {
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\na\n")
		resp, err := http.ReadResponse(r, nil)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
		}
		return err
	})
}

// fourConns has work done n times over four connections.
func fourConns(addr string, n int, work func(c net.Conn, r *bufio.Reader) error) error {
	errs := make(chan error, 4)
	for range 4 {
		go func() { // ends after its share
			c, err := net.Dial("tcp", addr)
			if err == nil {
				defer c.Close()
				r := bufio.NewReader(c)
				for i := 0; i < (n+3)/4 && err == nil; i++ {
					err = work(c, r)
				}
			}
			errs <- err
		}()
	}
	return errors.Join(<-errs, <-errs, <-errs, <-errs)
}

// silent opens n connections, says so with a line, and holds them until its input ends.
func silent(addr string, n int) error {
	for range n {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		defer c.Close()
	}
	fmt.Println("open")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// cpuTime is the user and system time that this process has used.
func cpuTime() time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		panic(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// mallocs returns how many objects this process has allocated.
func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}

// contender is a server to compare.
type contender struct{ name, addr string }

// perRound is how often a client process does its work before the next contender has its turn.
const perRound = 1000

// compare makes client processes do their work b.N times on each contender. The contenders take
// turns, because the speed of the machine changes from second to second. compare reports the median
// CPU time of each contender, and its ratio to that of the first.
func compare(b *testing.B, kind string, all ...contender) {
	b.Helper()
	used := make([][]float64, len(all))
	allocated := make([][]float64, len(all))
	ratio := make([][]float64, len(all))
	for _, c := range all {
		runClient(b, kind, c.addr, perRound/2) // warm up
	}
	b.ResetTimer()
	for range (b.N + perRound - 1) / perRound {
		for i, c := range all {
			objects, before := mallocs(), cpuTime()
			runClient(b, kind, c.addr, perRound)
			used[i] = append(used[i], float64(cpuTime()-before)/perRound)
			allocated[i] = append(allocated[i], float64(mallocs()-objects)/perRound)
			ratio[i] = append(ratio[i], used[i][len(used[i])-1]/used[0][len(used[i])-1])
		}
	}
	b.ReportMetric(0, "ns/op") // the sum of all contenders means nothing
	for i, c := range all {
		b.ReportMetric(median(used[i]), c.name+"-cpu-ns/op")
		b.ReportMetric(median(allocated[i]), c.name+"-allocs/op")
		if i > 0 {
			b.ReportMetric(median(ratio[i]), c.name+"/"+all[0].name)
		}
	}
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

// BenchmarkShortLine is connect, a line, its echo, close.
func BenchmarkShortLine(b *testing.B) {
	l := listen(b)
	m := cmux.New(l)
	m.Match(cmux.TLS())
	m.Match(cmux.HTTP2())
	m.Match(cmux.HTTP1Fast())
	plainEcho(b, m.Match(cmux.Any()))
	go m.Serve() // ends when the listener is closed
	compare(b, "line",
		contender{"plain", plainEcho(b, listen(b))},
		contender{"cmux", l.Addr().String()},
		contender{"portluck", serve(b, &Server{Hub: echoHub()})})
}

// BenchmarkShortPost is connect, a POST request, its answer, close.
func BenchmarkShortPost(b *testing.B) { benchmarkPost(b, "post") }

// BenchmarkKeepAlivePost is POST requests on connections that stay.
func BenchmarkKeepAlivePost(b *testing.B) { benchmarkPost(b, "keepalive") }

func benchmarkPost(b *testing.B, kind string) {
	l := listen(b)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		body := bufio.NewScanner(r.Body)
		for body.Scan() {
			w.Write(append(body.Bytes(), '\n'))
		}
	})}
	go s.Serve(l) // ends with Close
	b.Cleanup(func() { s.Close() })
	compare(b, kind,
		contender{"nethttp", l.Addr().String()},
		contender{"portluck", serve(b, &Server{Hub: echoHub()})})
}

// echoHub echoes and records nothing.
func echoHub() *Hub {
	return &Hub{OnMessage: func(m Message, w *Writer, _ *Client) { _ = w.Send(m) }}
}

func listen(b testing.TB) net.Listener {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	return l
}

// plainEcho echoes what the connections of l send, with a goroutine for each. That is what one
// would write without portluck.
func plainEcho(b testing.TB, l net.Listener) (addr string) {
	b.Helper()
	go func() { // ends when the listener is closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection
				defer c.Close()
				buf := make([]byte, 4<<10)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					if _, err := c.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// BenchmarkSilent opens 10,000 silent clients, b.N times. It reports what one of them costs the
// server.
func BenchmarkSilent(b *testing.B) {
	const processes, each = 4, 2500
	hub := echoHub()
	// with such a short SniffTimeout the kernel does not hold back silent connections
	addr := serve(b, &Server{Hub: hub, SniffTimeout: time.Second})
	for range b.N {
		before, goroutines := memory()
		var all []*exec.Cmd
		for range processes {
			all = append(all, startSilent(b, addr, each))
		}
		eventually(b, "10,000 clients", func() bool { return hub.Len() == processes*each })
		after, now := memory()
		b.ReportMetric(float64(after-before)/(processes*each), "B/client")
		b.ReportMetric(float64(now-goroutines)/(processes*each), "goroutines/client")
		for _, cmd := range all {
			cmd.Process.Kill()
			cmd.Wait()
		}
		eventually(b, "no clients", func() bool { return hub.Len() == 0 })
	}
}

// startSilent starts a client process and waits until its connections are open.
func startSilent(b testing.TB, addr string, n int) *exec.Cmd {
	b.Helper()
	cmd := clientProcess("silent", addr, n)
	if _, err := cmd.StdinPipe(); err != nil { // closed when we exit
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cmd.Process.Kill() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		b.Fatalf("client: %q, %v", line, err)
	}
	return cmd
}

// memory returns the bytes that heap and stacks use, and the number of goroutines.
func memory() (inUse int64, goroutines int) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse), runtime.NumGoroutine()
}
