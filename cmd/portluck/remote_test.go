package main

import (
	"bufio"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portluck/portluck/handlers/callosum"
	"github.com/portluck/portluck/portluck"
	"github.com/rs/zerolog"
)

// logChannel has the lines of a log.
type logChannel chan string

func (l logChannel) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// The Slots panel and the log call a client of a Unix socket unix:@.
func TestSlotsOfUnixClients(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "p.sock")
	listeners, err := portluck.Listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	log := make(logChannel, 10)
	logger := zerolog.New(log)
	srv := &portluck.Server{Hub: &portluck.Hub{}, Logger: &logger}
	s := &slotService{onSilence: true, max: 1}
	if err := s.start(newDemo(srv, nil, listeners, &logger)); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listeners[0]) }() // ends with Close
	defer func() { srv.Close(); <-served }()
	dial := func() *bufio.Reader {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := io.WriteString(c, callosum.Preface); err != nil {
			t.Fatal(err)
		}
		return bufio.NewReader(c)
	}
	if line, err := dial().ReadString('\n'); line != "0\r\n" || err != nil {
		t.Fatalf("the slot line is %q, %v", line, err)
	}
	held := ""
	for _, f := range s.panel().Facts {
		if f.Name == "connections" {
			held = f.Value
		}
	}
	if held != "0: unix:@" {
		t.Errorf("the panel has %q, want 0: unix:@", held)
	}
	_, _ = dial().ReadString('\n') // no slot is left for this client
	if line := <-log; !strings.Contains(line, `"remote":"unix:@"`) {
		t.Errorf("the log has %s, want the remote unix:@", line)
	}
}
