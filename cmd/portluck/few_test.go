package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers/callosum"
)

// linesPerSecond is the most lines about failures that a server may log in a second.
const linesPerSecond = 20

// Strangers cannot make the services log more than a few lines a second, or any of their text.
func TestServicesLogLittle(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text, says string
		flags            []string
	}{
		{"slots", callosum.Preface, `"proto":"callosum"`, []string{"--callosum", "127.0.0.1:0", "--slots-on-silence", "--max-slots", "1"}},
		{"mesh", "PORTLUCK-MESH/1 hunter2 ABC\n", `"proto":"mesh"`, []string{"--mesh", fmt.Sprintf("little%d", os.Getpid())}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "log")
			log, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer log.Close()
			p := startProcessTo(t, log, append(tt.flags, "--tls", "off", "--log-format", "json")...)
			begin := time.Now()
			if tt.text == callosum.Preface {
				first, err := net.Dial("tcp", p.addr)
				if err != nil {
					t.Fatal(err)
				}
				defer first.Close()
				_, _ = io.WriteString(first, tt.text)
				if _, err := first.Read(make([]byte, 8)); err != nil { // first gets the only slot
					t.Fatal(err)
				}
			}
			for range 200 {
				c, err := net.Dial("tcp", p.addr)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.WriteString(c, tt.text)
				_, _ = io.Copy(io.Discard, c) // until the server refuses c
				c.Close()
			}
			var written []byte
			for late := time.Now().Add(time.Minute); !bytes.Contains(written, []byte(tt.says)) && time.Now().Before(late); time.Sleep(time.Millisecond) {
				// The server writes its log in another goroutine.
				if written, err = os.ReadFile(path); err != nil {
					t.Fatal(err)
				}
			}
			got, most := bytes.Count(written, []byte(tt.says)), linesPerSecond*int(2+time.Since(begin)/time.Second)
			if got == 0 || got > most {
				t.Errorf("%d lines, want 1 to %d", got, most)
			}
			if text := string(written); strings.Contains(text, "hunter2") || strings.Contains(text, "%!") {
				t.Errorf("logged: %s", text)
			}
		})
	}
}
