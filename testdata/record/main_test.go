package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/testdata"
	"github.com/portluck/portluck/testdata/leak"
	"github.com/portluck/portluck/testdata/need"
)

func TestMain(m *testing.M) { leak.Main(m) }

// Each transcript belongs to a client, and each client has a transcript that its command has made.
func TestClientsHaveTranscripts(t *testing.T) {
	var names []string
	for _, c := range clients {
		if slices.Contains(names, c.name) {
			t.Errorf("two clients are called %s", c.name)
		}
		names = append(names, c.name)
		file, err := os.ReadFile(filepath.Join("..", "transcripts", c.name+".txt"))
		if err != nil {
			t.Error(err)
			continue
		}
		tr, err := testdata.Parse(file)
		if from := strings.ReplaceAll(c.command, "PROFILE", "$(mktemp -d)"); err != nil || tr.From != from || tr.Class != c.class {
			t.Errorf("%s: %s %q, %v, want %s %q", c.name, tr.Class, tr.From, err, c.class, from)
		}
	}
	for _, tr := range testdata.All() {
		if !slices.Contains(names, tr.Name) {
			t.Errorf("%s has no client", tr.Name)
		}
	}
}

func TestUnknownName(t *testing.T) {
	var out strings.Builder
	if got := run("curl-gte", &out); got != 1 {
		t.Errorf("run() = %d, want 1", got)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 1+len(clients) || lines[0] != "no transcript curl-gte; there are:" || lines[1] != clients[0].name {
		t.Errorf("run() says %q", lines)
	}
}

func TestAbsentClient(t *testing.T) {
	start := time.Now()
	_, err := record(client{name: "x", class: testdata.Raw, command: "no-such-client HOST PORT", by: program{"no-such-client", "true"}})
	if err == nil || !strings.Contains(err.Error(), `"no-such-client"`) {
		t.Errorf("record() = %v, want the name in it", err)
	}
	if waited := time.Since(start); waited > clientFor/2 {
		t.Errorf("record() took %v", waited)
	}
}

// If only the shell were killed, the first process of a pipeline would live on. The connection that
// it holds shows that.
func TestEveryProcessIsKilled(t *testing.T) {
	need.Program(t, "bash")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	tr, err := record(client{
		name: "x", class: testdata.Raw, by: program{"bash", "echo bash; echo more"},
		command: fmt.Sprintf("{ exec 4<>/dev/tcp/127.0.0.1/%s; echo ready; sleep 100; } | { read -r; exec 3<>/dev/tcp/HOST/PORT; echo hello >&3; sleep 100; }", port),
	})
	if err != nil || string(tr.Bytes) != "hello\n" || tr.Client != "bash" {
		t.Fatalf("record() = %+v, %v", tr, err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("a process of the client is alive: %v", err)
	}
}
