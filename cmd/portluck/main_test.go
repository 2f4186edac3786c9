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
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts run portluck as a command of its own: this binary again.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"portluck": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: setup,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"need": need, "serve": serveInScript, "terminate": terminate,
		},
	})
}

// setup gives a script a home of its own.
func setup(env *testscript.Env) error {
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
	env.Setenv("MESH", fmt.Sprintf("t%d", rand.Uint64N(1e13))) // a name that nobody else on the machine has
	env.Setenv("CA", filepath.Join(env.WorkDir, "config", "portluck", "ca.pem"))
	return nil
}

// need skips the script when a program is absent.
func need(ts *testscript.TestScript, _ bool, args []string) {
	for _, program := range args {
		if _, err := exec.LookPath(program); err != nil {
			ts.Logf("%s is not installed", program)
			ts.Exec("false")
		}
	}
}

// server is a portluck that a script has started.
type server struct {
	cmd *exec.Cmd
	out *bufio.Reader
}

// servers has the server of each script; scripts run at once.
var servers sync.Map

// serveInScript starts portluck with these flags on a free port, and sets ADDR, HOST and PORT.
func serveInScript(ts *testscript.TestScript, _ bool, args []string) {
	self, err := exec.LookPath("portluck")
	if err != nil {
		self, err = exec.LookPath(filepath.Join(filepath.SplitList(ts.Getenv("PATH"))[0], "portluck"))
	}
	ts.Check(err)
	cmd := exec.Command(self, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	cmd.Dir = ts.Getenv("WORK")
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "PATH", "WORK", "TESTSCRIPT_COMMAND", "PORTLUCK_ECHO", "PORTLUCK_NO_RAW", "PORTLUCK_LAN", "PORTLUCK_CERT", "PORTLUCK_KEY", "TMPDIR"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	cmd.Stderr = os.Stderr
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
	case <-time.After(15 * time.Second):
		ts.Fatalf("it is still running 15 s after the signal")
	}
}

// command is portluck as a process of its own.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "portluck") // the name by which this binary is the command
	if err := os.Symlink(exe, link); err != nil {
		t.Fatal(err)
	}
	return exec.Command(link, args...)
}

// A process is a portluck that serves.
type process struct {
	*exec.Cmd
	addr, ca string
	exited   chan struct{} // closed when it has; err is set then
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
	dir := t.TempDir()
	p := &process{ca: filepath.Join(dir, "ca.pem"), exited: make(chan struct{})}
	p.Cmd = command(t, append([]string{"serve", "--listen", "127.0.0.1:0", "--config-dir", dir}, args...)...)
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.Stderr = os.Stderr
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

// Every line that is printed for a person works.
func TestClientLines(t *testing.T) {
	addr, ca := startServer(t)
	_, port, _ := strings.Cut(addr, ":")
	onPath(t)
	t.Setenv("PORTLUCK_CONFIG_DIR", filepath.Dir(ca))
	for _, line := range clientLines([]string{"localhost:" + port}, ca) {
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

// onPath has this test binary found as the command portluck, as the lines to copy need it.
func onPath(t *testing.T) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(exe, filepath.Join(dir, "portluck")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
}

// needs skips the test when the program of a command is absent, and returns where it is.
func needs(t *testing.T, command string) (path string) {
	t.Helper()
	program, _, _ := strings.Cut(command, " ")
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("%s is not installed", program)
	}
	return path
}

// needsPython skips the test when Python's websockets are absent, and returns where Python is.
func needsPython(t *testing.T) (path string) {
	t.Helper()
	path = "/usr/bin/python3" // the one that Debian's packages are for
	if exec.Command(path, "-c", "import websockets").Run() != nil {
		t.Skip("python3-websockets is not installed")
	}
	return path
}

// hears has a person say hello by a command, and waits until it prints that.
func hears(t *testing.T, line string) {
	t.Helper()
	cmd := exec.Command("timeout", "20", "bash", "-c", "(echo hello; sleep 1) | "+line)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Signal(os.Interrupt) // timeout passes it on
	all := ""
	for in := newLines(out, 1000); ; {
		text, err := in.next()
		if strings.HasSuffix(text, "] hello") {
			return
		}
		if all += text + "\n"; err != nil {
			t.Errorf("%s: %q, %v", line, all, err)
			return
		}
	}
}

// Python's websockets, text and binary, in the clear and over TLS.
func TestPythonWebsockets(t *testing.T) {
	python := needsPython(t)
	addr, ca := startServer(t, "--echo")
	program := fmt.Sprintf(`
import asyncio, ssl, websockets
async def main():
    trust = ssl.create_default_context(cafile=%q)
    for url, tls in (("ws://%s/", None), ("wss://%s/", trust)):
        async with websockets.connect(url, ssl=tls) as ws:
            assert [e.name for e in ws.extensions] == ["permessage-deflate"]
            for message in ("text", b"\x00binary", "x" * 100000):
                await ws.send(message)
                assert await ws.recv() == message
            await (await ws.ping())
asyncio.run(main())
print("ok")
`, ca, addr, addr)
	out, err := exec.Command("timeout", "20", python, "-c", program).CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "ok\n") {
		t.Errorf("%s, %v", out, err)
	}
}
