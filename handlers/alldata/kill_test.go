package alldata

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/testdata/need"
)

// child does what a child process does in a test.
func child(what, dir string) {
	s := &Store{Dir: dir, LockTimeout: time.Minute}
	mode, arg, _ := strings.Cut(what, " ")
	switch mode {
	case "put":
		childPuts(s, arg)
	case "full":
		childFull(s)
	case "short":
		childShort(s)
	case "sync":
		childSync(s)
	}
}

func childFails(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// childPuts puts from many writers until the process is killed, and prints each key when its put is
// answered.
func childPuts(s *Store, round string) {
	childFails(s.Open())
	each(16, func(writer int) {
		for i := 0; ; i++ {
			key := fmt.Sprintf("%s-%d-%d", round, i, writer)
			childFails(s.Put(context.Background(), key, eventOf(key)))
			os.Stdout.WriteString(key + "\n") // one system call
		}
	})
}

// spawn starts this binary as a child.
func spawn(t *testing.T, what, dir string, through ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(through, self)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), asChild+"="+what, "ALLDATA_TEST_DIR="+dir, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	return cmd
}

// kill kills a child that puts: after n answers or, if n is 0, after a short time, perhaps before
// it has opened the store. It returns the keys that were answered.
func kill(t *testing.T, dir, round string, n int) (answered []string) {
	t.Helper()
	cmd := spawn(t, "put "+round, dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if n == 0 {
		timer := time.AfterFunc(rand.N(60*time.Millisecond), func() { cmd.Process.Kill() })
		defer timer.Stop()
	}
	for in := bufio.NewReader(out); ; {
		line, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			break // the last key was printed only in part
		}
		if err != nil {
			t.Fatal(err)
		}
		answered = append(answered, strings.TrimSuffix(line, "\n"))
		if len(answered) == n {
			cmd.Process.Kill()
		}
	}
	_ = cmd.Wait() // it was killed
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		t.Errorf("the child exited with %d", code)
	}
	return answered
}

// verify checks that a store has these keys, and nothing that was not put.
func verify(t *testing.T, dir string, keys map[string]bool) {
	t.Helper()
	s := &Store{Dir: dir, LockTimeout: time.Minute}
	if err := s.Open(); err != nil {
		t.Fatalf("after a kill: Open() = %v", err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	}()
	n, found, last := 0, 0, ""
	for e, err := range s.Range("", "") {
		if err != nil {
			t.Fatal(err)
		}
		if e.Key <= last || string(e.Event) != string(eventOf(e.Key)) {
			t.Fatalf("%q after %q: %s", e.Key, last, e.Event)
		}
		if last = e.Key; keys[e.Key] {
			found++
		}
		n++
	}
	if found != len(keys) {
		t.Fatalf("%d of %d answered keys are there", found, len(keys))
	}
	if got, err := s.Len(); got != n || err != nil {
		t.Errorf("Len() = %d, %v, want %d", got, err, n)
	}
}

// A process that is killed at any moment loses nothing that was answered. With TEST_LONG this is
// tried more often.
func TestStoreKilled(t *testing.T) {
	rounds := 12
	if need.Long() {
		rounds = 500
	}
	dir, keys := t.TempDir(), map[string]bool{}
	for round := range rounds {
		n := rand.IntN(500)
		if round%4 == 3 {
			n = 0
		}
		for _, key := range kill(t, dir, fmt.Sprint(round), n) {
			keys[key] = true
		}
		verify(t, dir, keys)
	}
	t.Logf("%d rounds, %d keys answered", rounds, len(keys))
	if len(keys) == 0 {
		t.Error("no put was answered")
	}
}

// A process that is killed while it makes the store leaves a directory that can be opened.
func TestStoreKilledEarly(t *testing.T) {
	for range 6 {
		dir := t.TempDir()
		keys := map[string]bool{}
		for _, key := range kill(t, dir, "early", 0) {
			keys[key] = true
		}
		verify(t, dir, keys)
	}
}
