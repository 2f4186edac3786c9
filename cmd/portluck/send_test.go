package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestSend(t *testing.T) {
	tests := []struct {
		name   string
		s      *sending
		server func(c net.Conn, r *bufio.Reader)
		want   string // the output
		err    string // part of the error; no error if empty
		took   time.Duration
	}{
		{
			"answered and ended",
			&sending{msgs: []string{"a", "b"}},
			func(c net.Conn, r *bufio.Reader) { echoLines(c, r, 2) }, "a\nb\n", "", 0,
		},
		{
			"answered and not ended",
			&sending{msgs: []string{"a", "b"}},
			func(c net.Conn, r *bufio.Reader) { echoLines(c, r, 2); time.Sleep(time.Hour) }, "a\nb\n", "", 30 * time.Second,
		},
		{
			"not answered",
			&sending{msgs: []string{"a"}},
			func(c net.Conn, r *bufio.Reader) { r.ReadString('\n'); time.Sleep(time.Hour) }, "", "no answer within 30s (--timeout)", 30 * time.Second,
		},
		{
			"ended without an answer",
			&sending{msgs: []string{"a"}},
			func(c net.Conn, r *bufio.Reader) { r.ReadString('\n') }, "", "", 0,
		},
		{
			"not taken",
			&sending{msgs: []string{"a", "b"}},
			func(c net.Conn, r *bufio.Reader) { echoLines(c, r, 1); time.Sleep(time.Hour) }, "a\n", "not everything was sent within 30s (--timeout)", 30 * time.Second,
		},
		{
			"ended too early",
			&sending{msgs: []string{"a", "b"}},
			func(c net.Conn, r *bufio.Reader) { echoLines(c, r, 1) }, "a\n", "closed pipe", 0,
		},
		{
			"ended while there is more to read",
			&sending{input: strings.NewReader("")},
			func(c net.Conn, r *bufio.Reader) {}, "", "the server ended before everything was sent", farewellTime,
		},
		{
			"no end of the input",
			&sending{input: strings.NewReader("a\n")},
			func(c net.Conn, r *bufio.Reader) { echoLines(c, r, 1); time.Sleep(time.Hour) }, "a\n", "not everything was sent within 30s", 30 * time.Second,
		},
		{
			"wait is not counted",
			&sending{msgs: []string{"a"}, wait: time.Minute},
			func(c net.Conn, r *bufio.Reader) {
				r.ReadString('\n')
				time.Sleep(59 * time.Second)
				io.WriteString(c, "late\n")
				time.Sleep(time.Hour)
			},
			"late\n", "", 90 * time.Second,
		},
		{
			"wait ends with the server",
			&sending{msgs: []string{"a"}, wait: time.Minute},
			func(c net.Conn, r *bufio.Reader) { echoLines(c, r, 1) }, "a\n", "", 0,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				go func() {
					defer server.Close()
					tt.server(server, bufio.NewReader(server))
				}()
				var out strings.Builder
				tt.s.timeout, tt.s.out, tt.s.clean = 30*time.Second, &out, strings.Clone
				block := make(blockedReader)
				if tt.s.input != nil {
					tt.s.input = io.MultiReader(tt.s.input, block)
				}
				start := time.Now()
				err := tt.s.run(t.Context(), &rawPeer{client, newLines(client, maxMessage)})
				if took := time.Since(start); took != tt.took {
					t.Errorf("it took %v, want %v", took, tt.took)
				}
				if got := out.String(); got != tt.want {
					t.Errorf("printed %q, want %q", got, tt.want)
				}
				if err == nil != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
					t.Errorf("run() = %v, want %q", err, tt.err)
				}
				close(block)
				time.Sleep(2 * time.Hour)
			})
		})
	}
}

// echoLines sends n lines back.
func echoLines(c net.Conn, r *bufio.Reader, n int) {
	for range n {
		line, _ := r.ReadString('\n')
		io.WriteString(c, line)
	}
}

// A blockedReader never returns anything, like a terminal at which nobody types.
type blockedReader chan struct{}

func (r blockedReader) Read([]byte) (int, error) {
	<-r
	return 0, errors.New("closed")
}
