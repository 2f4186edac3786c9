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

// A request asks a server to do something: a line of JSON on its stdin.
type request struct {
	Do string
	// Keep is how many bytes the kernel keeps for a client that does not read; the kernel's default if
	// 0.
	Keep int    `json:",omitempty"`
	Path string `json:",omitempty"` // of a profile
}

// An answer is the result of a request: a line of JSON on stdout.
type answer struct {
	Error      string `json:",omitempty"`
	Addr       string `json:",omitempty"`
	Live       int64  `json:",omitempty"` // bytes of objects on the heap
	Stacks     int64  `json:",omitempty"`
	Goroutines int    `json:",omitempty"`
}

// A child is the process of a server. One goroutine uses it.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	enc *json.Encoder
	dec *json.Decoder
}

// start starts a server for a protocol.
func start(name, proto string) (*child, error) {
	program, err := os.Executable()
	switch name {
	case before:
		program, name = programs.before, "portluck"
	case uws:
		program = programs.uws
	}
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(program, childArg, name, proto)}
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
	// The process ends in either case.
	watchdog := time.AfterFunc(time.Second, func() { _ = c.cmd.Process.Kill() })
	defer watchdog.Stop()
	_ = c.cmd.Wait() // what it answered is what counts
}

// runChild runs a server, and answers requests until stdin ends.
func runChild(name, proto string) {
	s := newServed(name, proto)
	dec, enc := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var q request
		if dec.Decode(&q) != nil {
			return // the parent has closed it, or is gone
		}
		a, err := s.do(q)
		if err != nil {
			a.Error = err.Error()
		}
		if enc.Encode(a) != nil {
			return
		}
	}
}
