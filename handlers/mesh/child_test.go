package mesh

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// childVar names the environment variable that makes this test binary a node, on a host of its own.
const childVar = "MESH_TEST_CHILD"

// childSpec describes a child.
type childSpec struct {
	Name, ID string
	Silent   bool   // without a discovery
	Listen   string // the address; every address if empty
}

// runChild runs a node until standard input ends. It prints its events to standard output.
func runChild(spec string) int {
	var s childSpec
	if err := json.Unmarshal([]byte(spec), &s); err != nil {
		fmt.Println(err)
		return 2
	}
	n := &Node{Name: s.Name, ID: s.ID, PeerTimeout: 3 * time.Second, Retry: 2 * time.Second}
	n.Discovery = &MDNS{Rescan: time.Second}
	if s.Silent {
		n.Discovery = &told{}
	}
	tell := func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	n.OnListening = func() { tell("listening %d", n.Address().Port) }
	n.OnError = func(err error) { fmt.Fprintln(os.Stderr, s.ID, err) }
	var mu sync.Mutex // held while printing, so that the last line is the current state
	count := func() {
		mu.Lock()
		defer mu.Unlock()
		tell("connections %d", len(n.Connections()))
	}
	n.OnConnection = func(c *Conn) {
		count()
		<-c.Done()
		count()
	}
	if err := n.Listen(0, s.Listen); err != nil {
		fmt.Println(err)
		return 1
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	n.Close()
	return 0
}

// child is a process that runs a node.
type child struct {
	stop func() // ends it gracefully

	mu    sync.Mutex
	conns int
	port  int
}

func (c *child) get(field *int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *field
}

// startChild starts a child. command, if there is one, runs the command line after it.
func startChild(t *testing.T, s childSpec, command ...string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	spec, _ := json.Marshal(s)
	command = append(command, exe)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), childVar+"="+string(spec))
	cmd.Stderr = testLog{t}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{}
	var wg sync.WaitGroup
	wg.Go(func() { // ends with the process
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			c.mu.Lock()
			_, _ = fmt.Sscanf(lines.Text(), "connections %d", &c.conns) // only one of the two matches
			_, _ = fmt.Sscanf(lines.Text(), "listening %d", &c.port)
			c.mu.Unlock()
		}
	})
	c.stop = sync.OnceFunc(func() {
		stdin.Close()
		kill := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		wg.Wait()
		if err := cmd.Wait(); err != nil {
			t.Errorf("node %s: %v", s.ID, err)
		}
		kill.Stop()
	})
	t.Cleanup(c.stop)
	eventually(t, "the child listens", func() bool { return c.get(&c.port) > 0 })
	return c
}

// testLog writes the output of a process to the test's log.
type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Logf("%s", p)
	return len(p), nil
}

// wantChildren waits until the children have these numbers of connections.
func wantChildren(t *testing.T, want []int, all ...*child) {
	t.Helper()
	eventually(t, fmt.Sprintf("connections are %v", want), func() bool {
		for i, c := range all {
			if c.get(&c.conns) != want[i] {
				return false
			}
		}
		return true
	})
}
