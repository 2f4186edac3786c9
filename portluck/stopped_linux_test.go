package portluck

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers/udp"
)

// stoppedEnv makes this binary an echo server. Its value is the length of all bounds of the server.
// A name before the length chooses how the server accepts and drives connections; with the name
// pings only PingInterval is short.
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
	// with a bound of its own
	s.Mount("POST /_put", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(d))
		if _, err := io.ReadAll(r.Body); err == nil {
			w.WriteHeader(http.StatusCreated)
		}
	}))
	all, packets, err := s.listen("127.0.0.1:0")
	if err != nil {
		os.Exit(1)
	}
	fmt.Println(all[0].Addr())
	go func() { // ends the process at the end of its input
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	go s.ServePacket(packets[0], s.Packets) // ends with the process
	if how == "read" {
		all[0] = hiding{all[0]}
	}
	s.Serve(all[0])
}

// If the process is stopped for longer than its timeouts, a client that has sent something
// meanwhile is served: the server reads what has come before it ends a client.
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

// stopped tries clients of these kinds with this bound. It returns false, without having tested
// anything, if the machine is too busy for the bound.
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
	const each = 2
	var clients []stoppedClient
	begin := time.Now()
	if pings {
		begin = begin.Add(bound) // no bound passes before the ping
	}
	for range each {
		for _, k := range kinds {
			c, e := k.start(t, strings.TrimSpace(line))
			if e == nil {
				clients = append(clients, c)
			} else if err == nil {
				err = fmt.Errorf("%s, at the start: %w", k.name, e)
			}
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
		_ = cmd.Process.Kill()
		t.Fatal(err)
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
