package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/cmd/internal/cli"
	"github.com/portluck/portluck/cmd/internal/clitest"
	"golang.org/x/sys/unix"
)

// serveOn starts a server whose standard output is a terminal, and reads its address.
func serveOn(t *testing.T, tty *os.File, out *bufio.Reader, args ...string) (cmd *exec.Cmd, addr string) {
	t.Helper()
	cmd = command(t, append(append(slices.Clone(patient), "--tls", "off"), args...)...)
	cmd.Env = append(cmd.Env, "TERM=xterm")
	cmd.Stdout, cmd.Stderr = tty, tty
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd, strings.TrimSpace(strings.TrimPrefix(line, "listening on "))
}

// On a terminal, standard output shows who comes and goes, and what is said.
func TestTerminalShowsTheRoom(t *testing.T) {
	t.Parallel()
	screen, tty := clitest.Terminal(t)
	out := bufio.NewReader(screen)
	_, addr := serveOn(t, tty, out)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, "a\x1b[2Jb\u202e\n")
	if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	c.Close()
	me := "tcp " + c.LocalAddr().String()
	want := []string{"+ " + me, "[" + me + "] a[2Jb", "- " + me}
	screen.SetReadDeadline(time.Now().Add(time.Minute))
	for len(want) > 0 {
		line, err := out.ReadString('\n')
		if err != nil {
			t.Fatalf("the terminal has not shown %q: %v", want, err)
		}
		if strings.TrimSuffix(line, "\r\n") == want[0] {
			want = want[1:]
		}
	}
}

// A stopped terminal, as by Ctrl-S, does not stop the server.
func TestTerminalStopped(t *testing.T) {
	t.Parallel()
	screen, tty := clitest.Terminal(t)
	out := bufio.NewReader(screen)
	cmd, addr := serveOn(t, tty, out, "--log-level", "debug")
	c, err := net.Dial("tcp", addr) // from here on nobody reads from screen
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	answers := bufio.NewReader(c)
	for i := range 800 { // more lines than the terminal and the screen hold
		fmt.Fprintf(c, "%s %d\n", strings.Repeat("x", 200), i)
		if _, err := answers.ReadString('\n'); err != nil {
			t.Fatalf("line %d: %v", i, err)
		}
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("it is still running a minute after the signal")
	}
}

// The null device is not a terminal, and a terminal with TERM=dumb does not count as one.
func TestNoTerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	_, tty := clitest.Terminal(t)
	if cli.IsTerminal(null) || !cli.IsTerminal(tty) {
		t.Errorf("cli.IsTerminal(null) = %t, cli.IsTerminal(tty) = %t", cli.IsTerminal(null), cli.IsTerminal(tty))
	}
	t.Setenv("TERM", "dumb")
	if cli.IsTerminal(tty) {
		t.Error("a dumb terminal is taken for one that shows lines")
	}
}

// A log that does not go to a terminal is JSON, with milliseconds. Standard output has only the
// address.
func TestLogsInJSON(t *testing.T) {
	t.Parallel()
	cmd := command(t, "serve", "--listen", "127.0.0.1:0", "--tls", "off", "--log-level", "debug")
	out, _ := cmd.StdoutPipe()
	logs, _ := cmd.StderrPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	said := bufio.NewReader(out)
	line, err := said.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", strings.TrimSpace(strings.TrimPrefix(line, "listening on ")))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(c, "hello")
	if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	c.Close()
	var entry struct{ Time, Message string }
	for in := json.NewDecoder(logs); entry.Message != "disconnect"; {
		if err := in.Decode(&entry); err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339, entry.Time)
		if err != nil || at.Format(logTime) != entry.Time {
			t.Errorf("the time of a line is %q, %v", entry.Time, err)
		}
	}
	cmd.Process.Signal(os.Interrupt)
	if rest, err := said.ReadString('\n'); rest != "" {
		t.Errorf("stdout also has %q, %v", rest, err)
	}
}
