package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/portluck/portluck/cmd/internal/cli"
	"github.com/portluck/portluck/testdata/leak"
	"github.com/rogpeppe/go-internal/testscript"
)

// This binary is portload too, under that name: for scripts, and for children.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "portload" {
		os.Exit(run())
	}
	// For those others: the race detector's default is a second.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	leak.Main(m)
}

func TestScripts(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"portload": func(ts *testscript.TestScript, neg bool, args []string) {
				if err := ts.Exec("portload", args...); (err != nil) != neg {
					ts.Fatalf("portload: %v", err)
				}
			},
		},
		Setup: func(env *testscript.Env) error {
			bin := filepath.Join(env.WorkDir, "bin")
			if err := os.Mkdir(bin, 0o700); err != nil {
				return err
			}
			env.Setenv("PATH", bin+string(filepath.ListSeparator)+env.Getenv("PATH"))
			env.Setenv("GORACE", os.Getenv("GORACE"))
			env.Setenv("ADDR", startServer(t, "tcp", &testServer{}).addr)
			return os.Symlink(exe, filepath.Join(bin, "portload"))
		},
	})
}

// load runs portload and returns its report.
func load(t *testing.T, args ...string) (map[string]any, error) {
	t.Helper()
	return loadUntil(t.Context(), t, args...)
}

func loadUntil(ctx context.Context, t *testing.T, args ...string) (map[string]any, error) {
	t.Helper()
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs(append(args, "--json", "--insecure"))
	root.SetOut(&out)
	failure := root.ExecuteContext(ctx)
	report := map[string]any{}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil && out.Len() > 0 {
		t.Fatalf("%v: %v in %s", args, err, out.Bytes())
	}
	return report, failure
}

// want checks numbers of a report.
func want(t *testing.T, report map[string]any, numbers map[string]float64) {
	t.Helper()
	for name, want := range numbers {
		if got, ok := report[name].(float64); !ok || got != want {
			t.Errorf("%s = %v, want %v", name, report[name], want)
		}
	}
}

// wantError checks that err says text.
func wantError(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("error = %v, want %q", err, text)
	}
}

func TestUsage(t *testing.T) {
	for _, tc := range []struct{ args, want string }{
		{"--bogus", "unknown flag: --bogus"},
		{"conn", "one ADDR (host:port) is needed, not 0"},
		{"conn 127.0.0.1", `"127.0.0.1" is not an address such as localhost:8100`},
		{"conn 127.0.0.1:nowhere", `"nowhere" is not a port`},
		{"conn 127.0.0.1:1 --proto udp", `--proto "udp": it is tcp, tls, http, https, ws, wss`},
		{"idle 127.0.0.1:1 --proto udp", `--proto "udp": it is tcp, tls, http, https, ws, wss`},
		{"fanout 127.0.0.1:1 --proto http", `--proto "http": it is tcp, ws`},
		{"echo 127.0.0.1:1 --clients 0", "--clients 0: it is at least 1"},
		{"echo 127.0.0.1:1 --files 64", "--files 64: it is at least 65"},
		{"echo 127.0.0.1:1 --timeout 0", "--timeout 0s: it is more than 0"},
		{"conn 127.0.0.1:1 --count -1", "--count -1: it is at least 0"},
		{"conn 127.0.0.1:1 --time -1s", "--time -1s: it is at least 0"},
		{"idle 127.0.0.1:1 --conns 5 --from 5", "--from 5: it is less than --conns 5"},
		{"fanout 127.0.0.1:1 --batch 2", "--batch 2: it is at least 1 and at most --window 1"},
		{"fanout 127.0.0.1:1 --window -1", "--window -1: it is at least 0"},
		{"fanout 127.0.0.1:1 --stuck-buffer -1", "--stuck-buffer -1: it is at least 0"},
		{"fanout 127.0.0.1:1 --rate -5", "--rate -5: it is at least 0"},
		{"fanout 127.0.0.1:1 --members 2 --stuck 2", "--stuck 2: it is less than --members 2"},
		{"fanout 127.0.0.1:1 --size 8", "--size 8: it is at least 41"},
		{"echo 127.0.0.1:1 --rate -5", "--rate -5: it is at least 0 and at most 10000000; leave it out to send as fast as echoes come"},
		{"echo 127.0.0.1:1 --rate NaN", "--rate NaN: it is at least 0"},
		{"echo 127.0.0.1:1 --rate 1e300", "--rate 1e+300: it is at least 0 and at most"},
		{"conn 127.0.0.1:1 --get", "--get with --proto tcp: it goes with --proto http and https"},
		{"conn 192.0.2.1:1 --local-ips 2", "only 127.0.0.1 has more of them, not 192.0.2.1"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			root := newRoot()
			root.SetArgs(strings.Fields(tc.args))
			err := root.ExecuteContext(t.Context())
			wantError(t, err, tc.want)
			if !cli.IsUsage(err) {
				t.Errorf("%v is no mistake in the command line", err)
			}
		})
	}
}

func TestConn(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, proto, &testServer{})
			r, err := load(t, "conn", s.addr, "--proto", proto, "--clients", "3", "--count", "20")
			if err != nil {
				t.Error(err)
			}
			want(t, r, map[string]float64{"connections": 20, "failed": 0, "processes": 1})
			if r["latency_seconds"].(map[string]any)["max"].(float64) <= 0 {
				t.Errorf("latencies are %v", r["latency_seconds"])
			}
		})
	}
}

func TestConnFails(t *testing.T) {
	var n atomic.Int64
	s := startServer(t, "tcp", &testServer{answers: func(int, []byte) int {
		if n.Add(1)%5 == 0 {
			return -1
		}
		return 1
	}})
	r, err := load(t, "conn", s.addr, "--clients", "1", "--count", "9", "--reset")
	wantError(t, err, "2 failed: the server closed without an echo")
	want(t, r, map[string]float64{"connections": 7, "failed": 2})
}

func TestEcho(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, proto, &testServer{})
			for _, size := range []string{"1", "64", "20000"} {
				r, err := load(t, "echo", s.addr, "--proto", proto, "--clients", "3", "--depth", "4", "--size", size, "--count", "100")
				if err != nil {
					t.Error(err)
				}
				want(t, r, map[string]float64{"messages": 100, "failed": 0, "clients": 3})
			}
		})
	}
}

func TestEchoForATime(t *testing.T) {
	t.Parallel()
	s := startServer(t, "tcp", &testServer{})
	r, err := load(t, "echo", s.addr, "--time", "1s")
	if err != nil || r["messages"].(float64) < 1 || r["per_second"].(float64) < 1 || r["seconds"].(float64) < .1 {
		t.Errorf("%v, %v", r, err)
	}
}

func TestEchoWrong(t *testing.T) {
	for _, tc := range []struct {
		name  string
		count int
		want  string // a regular expression
	}{
		{"lost", 0, "echo 6 is lost"},
		// It depends on whether the server reads 7 before or after.
		{"doubled", 2, "echo 7 is lost, out of order|an echo came twice"},
		// It depends on whether it has read 7 and 8.
		{"closed", -1, "the server closed with messages in flight|reset by peer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := startServer(t, "tcp", &testServer{answers: func(_ int, msg []byte) int {
				if bytes.HasPrefix(msg, []byte("00000006")) {
					return tc.count
				}
				return 1
			}})
			_, err := load(t, "echo", s.addr, "--clients", "1", "--depth", "3", "--count", "100")
			if err == nil || !regexp.MustCompile(tc.want).MatchString(err.Error()) {
				t.Errorf("error = %v, want %q", err, tc.want)
			}
		})
	}
}

func TestNoEcho(t *testing.T) {
	t.Parallel()
	s := startServer(t, "tcp", &testServer{answers: func(int, []byte) int { return 0 }})
	_, err := load(t, "echo", s.addr, "--timeout", "2s")
	wantError(t, err, "no echo within 2s")
	s = startServer(t, "tcp", &testServer{answers: func(_ int, msg []byte) int { return min(1, int('5'-msg[7])) }})
	_, err = load(t, "echo", s.addr, "--timeout", "2s", "--clients", "1")
	wantError(t, err, "1 failed: ")
}

// Several processes make the connections for which one has too few descriptors.
func TestChildren(t *testing.T) {
	for _, tc := range []struct {
		proto string
		args  []string
		want  map[string]float64
	}{
		{"tls", []string{"conn", "--clients", "5", "--count", "11"}, map[string]float64{"connections": 11}},
		{"ws", []string{"echo", "--clients", "5", "--count", "100", "--depth", "2"}, map[string]float64{"messages": 100}},
		{"tcp", []string{"idle", "--conns", "6", "--time", "10ms", "--settle", "10ms"}, map[string]float64{"conns": 6}},
		{"ws", []string{"fanout", "--members", "6", "--count", "10"}, map[string]float64{"deliveries": 60, "lost": 0}},
	} {
		t.Run(tc.args[0], func(t *testing.T) {
			t.Parallel()
			s := startServer(t, tc.proto, &testServer{toAll: tc.args[0] == "fanout"})
			r, err := load(t, append(tc.args, s.addr, "--proto", tc.proto, "--files", "67")...)
			if err != nil {
				t.Error(err)
			}
			tc.want["processes"], tc.want["failed"] = 2, 0
			want(t, r, tc.want)
			if r["client_cpu_seconds"] == nil && r["seconds"].(float64) > 1 {
				t.Error("no CPU time of the clients")
			}
		})
	}
}

// Ctrl-C ends the load, and what was measured is reported.
func TestInterrupt(t *testing.T) {
	for _, tc := range []struct {
		args []string
		what string
	}{
		{[]string{"conn", "--time", "0"}, "connections"},
		{[]string{"echo", "--time", "0", "--clients", "5"}, "messages"},
		{[]string{"echo", "--time", "0", "--clients", "5", "--files", "67"}, "messages"},
		{[]string{"fanout", "--time", "0", "--rate", "100", "--members", "5"}, "deliveries"},
		{[]string{"idle", "--time", "1h", "--settle", "1ms", "--conns", "5", "--from", "3", "--line", "hello"}, "conns"},
		{[]string{"idle", "--settle", "1h", "--conns", "5", "--from", "3", "--line", "hello", "--files", "67"}, "conns"},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var n atomic.Int64
			s := startServer(t, "tcp", &testServer{toAll: tc.args[0] == "fanout", answers: func(_ int, msg []byte) int {
				if n.Add(1) == 50 || string(msg) == "hello" {
					time.AfterFunc(100*time.Millisecond, cancel)
				}
				return 1
			}})
			r, err := loadUntil(ctx, t, append(tc.args, s.addr)...)
			if err != nil || r["interrupted"] != true || r[tc.what].(float64) < 1 {
				t.Errorf("%v, %v", r, err)
			}
		})
	}
}

// The goodbye of a server is an error that says so.
func TestServerGoodbye(t *testing.T) {
	s := startServer(t, "ws", &testServer{greet: func(c net.Conn) {
		_ = wsutil.WriteServerMessage(c, ws.OpClose, ws.NewCloseFrameBody(1013, "full"))
	}})
	_, err := load(t, "echo", s.addr, "--proto", "ws")
	wantError(t, err, "the server said goodbye: 1013 full")
}
