package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// childArg is the first argument of a child process.
const childArg = "child"

// askTime bounds a child's work on one request.
const askTime = 90 * time.Second

// A request is what a child is to do: a line of JSON on its stdin.
type request struct {
	Do    string
	Addr  string        `json:",omitempty"`
	Proto string        `json:",omitempty"` // tcp, tls, ws or wss
	Conns int           `json:",omitempty"` // to open, or at once
	Size  int           `json:",omitempty"` // bytes of a message
	Depth int           `json:",omitempty"` // messages in flight
	Burst int           `json:",omitempty"` // messages in one write
	Time  time.Duration `json:",omitempty"`
	Join  bool          `json:",omitempty"` // the connections become members of the room, and one more publishes
	Stuck int           `json:",omitempty"` // more members, that never read
	// Buffer is what the kernel may hold for a client that does not read; its own bound if 0.
	Buffer int    `json:",omitempty"`
	Path   string `json:",omitempty"` // of a profile
}

// An answer is what came of a request: a line of JSON on stdout.
type answer struct {
	Error    string  `json:",omitempty"`
	Addr     string  `json:",omitempty"` // of the server
	CPU      float64 `json:",omitempty"` // seconds since the process began
	System   float64 `json:",omitempty"` // of them in the kernel
	Switches int64   `json:",omitempty"` // how often a thread has waited
	Memory
	Ops int64   `json:",omitempty"` // echoes, connections or deliveries
	P50 float64 `json:",omitempty"` // seconds that one took
	P99 float64 `json:",omitempty"`
}

// Memory is that of a server, after a collection.
type Memory struct {
	Pss        int64 `json:",omitempty"`
	Heap       int64 `json:",omitempty"` // in use
	Stacks     int64 `json:",omitempty"`
	Goroutines int   `json:",omitempty"`
}

// A child is a process of ours: a server or a load. One goroutine uses it.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	enc *json.Encoder
	dec *json.Decoder
}

// start starts a child; see runChild for the arguments.
func start(args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(self, append([]string{childArg}, args...)...)}
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.enc, c.dec = json.NewEncoder(c.in), json.NewDecoder(out)
	return c, c.cmd.Start()
}

// ask waits for the answer to q.
func (c *child) ask(q request) (a answer, err error) {
	watchdog := time.AfterFunc(askTime, func() { _ = c.cmd.Process.Kill() }) // then there is no answer
	defer watchdog.Stop()
	if err = c.enc.Encode(q); err == nil {
		err = c.dec.Decode(&a)
	}
	if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", q.Do, err)
	}
	return a, err
}

// stop ends the process, if it is not nil, and waits for it.
func (c *child) stop() {
	if c == nil {
		return
	}
	c.in.Close()
	watchdog := time.AfterFunc(time.Second, func() { _ = c.cmd.Process.Kill() }) // it is over either way
	defer watchdog.Stop()
	_ = c.cmd.Wait() // what it answered is what counts
}

// runChild is main of a child: "load", or "server" with its name and its protocol. It ends when stdin does.
func runChild(args []string) {
	var do func(request) (answer, error)
	switch {
	case len(args) == 1 && args[0] == "load":
		do = newLoad().do
	case len(args) == 3 && args[0] == "server":
		do = newServed(args[1], args[2]).do
	default:
		fmt.Fprintln(os.Stderr, "bench: not a child:", args)
		os.Exit(2)
	}
	dec, enc := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var q request
		if dec.Decode(&q) != nil {
			return // the parent has closed it, or is gone
		}
		a, err := do(q)
		if err != nil {
			a.Error = err.Error()
		}
		if enc.Encode(a) != nil {
			return
		}
	}
}
