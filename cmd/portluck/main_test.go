package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portluck/portluck/testdata/leak"
	"github.com/portluck/portluck/testdata/need"
	"github.com/rogpeppe/go-internal/testscript"
)

// drainVar names the variable that sets drainTime in a process that a test starts. Such a process
// is this test binary under another name: portluck, or one of programs.
const drainVar = "TEST_DRAIN"

func TestMain(m *testing.M) {
	if programs[filepath.Base(os.Args[0])] == nil {
		leak.Parallel()
	}
	if d, err := time.ParseDuration(os.Getenv(drainVar)); err == nil {
		drainTime = d
	}
	testscript.Main(leak.Checked(m), programs)
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: setup,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"need": needInScript, "serve": serveInScript, "terminate": terminate,
		},
	})
}

// setup gives a script its own home directory and the name of a mesh.
func setup(env *testscript.Env) error {
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
	env.Setenv("MESH", fmt.Sprintf("t%d", rand.Uint64N(1e13))) // not used by another test
	env.Setenv("CA", filepath.Join(env.WorkDir, "config", "portluck", "ca.pem"))
	env.Values[needT{}] = env.T()
	return nil
}

// needT is the key of a script's testscript.T.
type needT struct{}

// needInScript skips the script when a program is absent.
func needInScript(ts *testscript.TestScript, _ bool, args []string) {
	for _, program := range args {
		need.Program(ts.Value(needT{}).(testscript.T), program)
	}
}

// server is a portluck server that a script has started.
type server struct {
	cmd *exec.Cmd
	out *bufio.Reader
}

// servers maps each script to its server. Scripts run concurrently.
var servers sync.Map

// patient has the flags of the tests' servers. A client that a busy machine delays must not count
// as a raw one.
var patient = []string{"serve", "--listen", "127.0.0.1:0", "--sniff-timeout", "1m"}

// serveInScript starts portluck with these flags on a free port, and sets ADDR, HOST and PORT. The
// file log gets its standard error.
func serveInScript(ts *testscript.TestScript, _ bool, args []string) {
	self, err := exec.LookPath("portluck")
	if err != nil {
		self, err = exec.LookPath(filepath.Join(filepath.SplitList(ts.Getenv("PATH"))[0], "portluck"))
	}
	ts.Check(err)
	cmd := exec.Command(self, append(slices.Clone(patient), args...)...)
	cmd.Dir = ts.Getenv("WORK")
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "PATH", "WORK", "TESTSCRIPT_COMMAND", "PORTLUCK_ECHO", "PORTLUCK_NO_RAW", "PORTLUCK_LAN", "PORTLUCK_CERT", "PORTLUCK_KEY", "PORTLUCK_MAX_PARTIAL", "TMPDIR"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	log, err := os.OpenFile(ts.MkAbs("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	defer log.Close() // the process keeps its own copy
	cmd.Stderr = log
	ts.Check(cmd.Start())
	s := &server{cmd, bufio.NewReader(out)}
	line, err := s.out.ReadString('\n')
	ts.Check(err)
	addr := strings.TrimPrefix(strings.TrimSpace(line), "listening on ")
	host, port, _ := strings.Cut(addr, ":")
	ts.Setenv("ADDR", addr)
	ts.Setenv("HOST", host)
	ts.Setenv("PORT", port)
	servers.Store(ts, s)
	ts.Defer(func() {
		cmd.Process.Kill()
		cmd.Wait()
		servers.Delete(ts)
		ts.Logf("log:\n%s", ts.ReadFile("log"))
	})
}

// terminate interrupts the server and waits for the exit with code 0.
func terminate(ts *testscript.TestScript, _ bool, _ []string) {
	found, _ := servers.Load(ts)
	s := found.(*server)
	ts.Check(s.cmd.Process.Signal(os.Interrupt))
	done := make(chan error, 1)
	go func() { done <- s.cmd.Wait() }()
	select {
	case err := <-done:
		ts.Check(err)
	case <-time.After(time.Minute):
		ts.Fatalf("it is still running a minute after the signal")
	}
}

// command returns the command that runs portluck as a process, without PORTLUCK_ variables.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "portluck") // by this name, the test binary is portluck
	if err := os.Symlink(exe, link); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(link, args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, envPrefix) })
	return cmd
}

// A process is a portluck server in a process of its own.
type process struct {
	*exec.Cmd
	addr, ca string
	exited   chan struct{} // closed after the exit, when err is set
	err      error
}

// startServer starts portluck for a Go test.
func startServer(t *testing.T, args ...string) (addr, ca string) {
	t.Helper()
	p := startProcess(t, args...)
	return p.addr, p.ca
}

func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	return startProcessTo(t, os.Stderr, args...)
}

// startProcessTo is startProcess, but the process writes its standard error to stderr.
func startProcessTo(t *testing.T, stderr *os.File, args ...string) *process {
	t.Helper()
	dir := t.TempDir()
	p := &process{ca: filepath.Join(dir, "ca.pem"), exited: make(chan struct{})}
	p.Cmd = command(t, append(append(slices.Clone(patient), "--config-dir", dir), args...)...)
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.Stderr = stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	go func() { // ends with the process
		p.err = p.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.Process.Kill()
		<-p.exited
	})
	if err != nil {
		t.Fatal(err)
	}
	p.addr = strings.TrimPrefix(strings.TrimSpace(line), "listening on ")
	return p
}

// Every command that is printed for a person works.
func TestClientLines(t *testing.T) {
	addr, ca := startServer(t)
	_, port, _ := strings.Cut(addr, ":")
	t.Setenv("PORTLUCK_CONFIG_DIR", filepath.Dir(ca))
	for _, line := range clientLines("localhost:"+port, entrance{tls: true, ca: ca}) {
		t.Run(line.What, func(t *testing.T) {
			if line.What == "browser" {
				resp, err := http.Get(line.Command)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || !strings.Contains(string(b), "<title>portluck") {
					t.Errorf("the page: %d %.100q", resp.StatusCode, b)
				}
				return
			}
			needs(t, line.Command)
			hears(t, line.Command)
		})
	}
}

// needs returns the path of the program of a command. It skips the test if there is none.
func needs(t *testing.T, command string) (path string) {
	t.Helper()
	program, _, _ := strings.Cut(command, " ")
	return need.Program(t, program)
}

// person starts a command in a shell. It ends with the test, or after a minute.
func person(t *testing.T, line string) (in io.Writer, out io.Reader) {
	t.Helper()
	cmd := exec.Command("timeout", "60", "sh", "-c", line)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if out, err = cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt) // timeout(1) passes it on
		cmd.Wait()
	})
	return in, out
}

// said numbers the lines that hears sends. They must differ, as WebSocket clients also get old
// lines.
var said atomic.Int32

// hears sends a line through a command again and again until the command prints it: `curl -T -`
// reads only after it has sent. A command that reads events prints a line of another client.
func hears(t *testing.T, line string) {
	t.Helper()
	word := "hello"
	if !strings.Contains(line, "-d hello") && !strings.Contains(line, "event-stream") {
		word = fmt.Sprintf("hello %d", said.Add(1))
	}
	in, out := person(t, line)
	go func() { // ends with the command
		for {
			if _, err := io.WriteString(in, word+"\n"); err != nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	all := ""
	for lines := newLines(out, 1000); ; {
		text, err := lines.next()
		if strings.HasSuffix(text, "] "+word) {
			return
		}
		if all += text + "\n"; err != nil {
			t.Errorf("%s: %q, %v", line, all, err)
			return
		}
	}
}

// Python's websockets package talks to the server: text and binary, in the clear and over TLS.
func TestPythonWebsockets(t *testing.T) {
	t.Parallel()
	python := need.Python(t, "websockets")
	addr, ca := startServer(t, "--echo")
	program := fmt.Sprintf(`
import asyncio, ssl, websockets
async def main():
    trust = ssl.create_default_context(cafile=%q)
    for url, tls in (("ws://%s/", None), ("wss://%s/", trust)):
        async with websockets.connect(url, ssl=tls, open_timeout=60, ping_timeout=60, close_timeout=60) as ws:
            assert [e.name for e in ws.extensions] == ["permessage-deflate"]
            for message in ("text", b"\x00binary", "x" * 100000):
                await ws.send(message)
                assert await ws.recv() == message
            await (await ws.ping())
asyncio.run(main())
print("ok")
`, ca, addr, addr)
	out, err := exec.Command("timeout", "60", python, "-c", program).CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "ok\n") {
		t.Errorf("%s, %v", out, err)
	}
}
