package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A work is a command of portload with its flags.
type work struct {
	do    string  // conn, echo, fanout or idle
	proto string  // tcp, tls, http, https, ws or wss
	serve string  // the protocol of the server, if it is not proto
	get   bool    // HTTP: get a page
	rate  float64 // echo: operations a second; as fast as it can if 0
	part  float64 // of a capacity that is measured first: it becomes rate
	count int     // echo: messages of a round, instead of time
	conns int     // clients or connections, or members that read
	from  int     // idle: connections of the first measure
	stuck int     // fanout: more members, that never read
	// size is the bytes of a message; idle: of the one that each connection sends later, if any.
	size  int
	depth int  // messages in flight: for each client, or of the publisher
	batch int  // fanout: messages in one write
	join  bool // idle: the connections become members of a room
	// keep is how many bytes the server's kernel keeps for a client that does not read; its default if
	// 0.
	keep int
	time time.Duration // of a round
}

// stuckBuffer is what the kernel may hold for a client that does not read.
const stuckBuffer = 4 << 10

// args returns the arguments of portload.
func (w *work) args() []string {
	flag := func(name string, n int) string { return "--" + name + "=" + strconv.Itoa(n) }
	args := []string{w.do, "--proto", w.proto, "--time", w.time.String(), "--local-ips=16", "--timeout=1m"}
	if w.get {
		args = append(args, "--get", "--path=/page")
	}
	switch w.do {
	case "conn":
		args = append(args, flag("clients", w.conns), flag("size", w.size))
	case "echo":
		args = append(args, flag("clients", w.conns), flag("size", w.size), flag("depth", w.depth), flag("count", w.count),
			"--rate="+strconv.FormatFloat(w.rate, 'f', -1, 64))
	case "fanout":
		args = append(args, flag("members", w.conns+w.stuck), flag("stuck", w.stuck), flag("stuck-buffer", stuckBuffer),
			flag("size", w.size), flag("window", w.depth), flag("batch", w.batch), "--join", greeting(true))
	case "idle":
		args = append(args, flag("conns", w.conns), flag("from", w.from), flag("burst", w.size), "--line", greeting(w.join))
	}
	return args
}

// greeting returns the first message of a connection, which asks the server to add it to the room
// if join is set.
func greeting(join bool) string {
	tag := "e"
	if join {
		tag = string(rune(tagJoin))
	}
	return tag + strings.Repeat(".", 63)
}

// A report has the fields of portload's report that the bench uses: see portload help json.
type report struct {
	Seconds      float64 `json:"seconds"`
	Failed       int64   `json:"failed"`
	Error        string  `json:"error"`
	Closed       int64   `json:"closed"`
	Connections  int64   `json:"connections"`
	Messages     int64   `json:"messages"`
	Deliveries   int64   `json:"deliveries"`
	Unsent       int64   `json:"unsent"`
	Lost         int64   `json:"lost"`
	Doubled      int64   `json:"doubled"`
	Late         int64   `json:"late"`
	Disconnected int64   `json:"disconnected"`
	Latency      struct {
		P50  float64 `json:"p50"`
		P99  float64 `json:"p99"`
		P999 float64 `json:"p999"`
		Max  float64 `json:"max"`
	} `json:"latency_seconds"`
	Server struct {
		CPU        float64 `json:"cpu_seconds"`
		System     float64 `json:"system_seconds"`
		Waits      int64   `json:"waits"`
		HeapBefore int64   `json:"heap_before"`
		Threads    int64   `json:"threads"`
	} `json:"server"`
	Points []struct {
		At   string `json:"at"`
		Heap int64  `json:"heap"`
	} `json:"points"`
}

// ops returns the number of operations.
func (r *report) ops() float64 { return float64(r.Connections + r.Messages + r.Deliveries) }

// latencies returns the quantiles that rows compare, in milliseconds.
func (r *report) latencies() map[string]float64 {
	return map[string]float64{"p50": r.Latency.P50 * 1e3, "p99": r.Latency.P99 * 1e3, "p99.9": r.Latency.P999 * 1e3}
}

// heap returns the private memory at a point of idle.
func (r *report) heap(at string) int64 {
	for _, p := range r.Points {
		if p.At == at {
			return p.Heap
		}
	}
	return 0
}

// failure returns an error if the server failed a client.
func (r *report) failure() error {
	if n := r.Failed + r.Closed + r.Lost + r.Doubled + r.Late + r.Disconnected; n > 0 {
		return fmt.Errorf("%d failed, %d closed, %d lost, %d doubled, %d late, %d disconnected %s",
			r.Failed, r.Closed, r.Lost, r.Doubled, r.Late, r.Disconnected, r.Error)
	}
	return nil
}

// A load is a portload process, which measures when asked to. One goroutine uses it.
type load struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

// startLoad starts a portload that does w to the server at addr.
func startLoad(w *work, addr string, pid int) (*load, error) {
	args := slices.Concat(w.args(), []string{addr, "--pid", strconv.Itoa(pid), "--json", "--rounds", "--insecure"})
	l := &load{cmd: exec.Command(programs.portload, args...)}
	l.cmd.Stderr = os.Stderr
	in, err := l.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	l.in, l.out = in, json.NewDecoder(out)
	return l, l.cmd.Start()
}

// round runs the work once.
func (l *load) round() (*report, error) {
	watchdog := time.AfterFunc(askTime, func() { _ = l.cmd.Process.Kill() }) // then there is no report
	defer watchdog.Stop()
	if _, err := io.WriteString(l.in, "\n"); err != nil {
		return nil, err
	}
	r := &report{}
	switch err := l.out.Decode(r); {
	case errors.Is(err, io.EOF):
		return nil, errors.New("portload has ended")
	case err != nil:
		return nil, err
	}
	return r, r.failure()
}

// stop ends portload, and waits for it.
func (l *load) stop() {
	if l == nil {
		return
	}
	l.in.Close()
	watchdog := time.AfterFunc(askTime, func() { _ = l.cmd.Process.Kill() })
	defer watchdog.Stop()
	_ = l.cmd.Wait() // what it reported is what counts
}
