// Package testdata has the first bytes that real clients send, recorded by
//
//	go run ./testdata/record
//
// which needs the clients and runs them against a port of this machine. The files are never edited by hand.
//
// A transcript is a text file: lines of "key: value" (from: the command; client: its version; class: what it is; date:),
// an empty line, and a hex dump.
package testdata

import (
	"bufio"
	"bytes"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
)

//go:embed transcripts/*.txt
var files embed.FS

// The classes of transcripts: what the port should make of them.
const (
	HTTP1     = "http1"
	HTTP2     = "http2"
	WebSocket = "websocket"
	TLS       = "tls"
	SSH       = "ssh"
	Proxy     = "proxy"
	Raw       = "raw"
)

// Transcript is what one client sends first.
type Transcript struct {
	Name   string // of the file, without .txt
	From   string // the command that was recorded
	Client string // the version of the client
	Class  string // one of the classes
	Date   string // of the recording, YYYY-MM-DD
	Bytes  []byte
}

// All returns every transcript, by name. It panics if a file is malformed.
func All() []Transcript { return slices.Clone(load()) }

// Get returns the transcript of this name. It panics if there is none.
func Get(name string) Transcript {
	for _, t := range load() {
		if t.Name == name {
			return t
		}
	}
	panic("testdata: no transcript " + name)
}

var load = sync.OnceValue(func() []Transcript {
	names, err := fs.Glob(files, "transcripts/*.txt")
	if err != nil {
		panic(err)
	}
	var all []Transcript
	for _, name := range names {
		b, err := files.ReadFile(name)
		if err != nil {
			panic(err)
		}
		t, err := Parse(b)
		if err != nil {
			panic(fmt.Sprintf("testdata: %s: %v", name, err))
		}
		t.Name = strings.TrimSuffix(path.Base(name), ".txt")
		all = append(all, t)
	}
	return all
})

// Format writes t as a file has it.
func Format(t Transcript) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "from: %s\nclient: %s\nclass: %s\ndate: %s\n\n", t.From, t.Client, t.Class, t.Date)
	b.WriteString(hex.Dump(t.Bytes))
	return b.Bytes()
}

// Parse reads what Format writes, but for the name.
func Parse(b []byte) (Transcript, error) {
	var t Transcript
	head, dump, ok := bytes.Cut(b, []byte("\n\n"))
	if !ok {
		return t, fmt.Errorf("no empty line behind the head")
	}
	fields := map[string]*string{"from": &t.From, "client": &t.Client, "class": &t.Class, "date": &t.Date}
	for line := range strings.Lines(string(head)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		field := fields[key]
		if field == nil {
			return t, fmt.Errorf("unknown key %q", key)
		}
		*field = value
	}
	if t.From == "" || t.Class == "" {
		return t, fmt.Errorf("from or class is missing")
	}
	return t, parseDump(&t, dump)
}

// parseDump reads a hex dump: offset, sixteen bytes in hex, the same as text between bars.
func parseDump(t *Transcript, dump []byte) error {
	lines := bufio.NewScanner(bytes.NewReader(dump))
	for lines.Scan() {
		line := lines.Text()
		if len(line) < 10 || fmt.Sprintf("%08x", len(t.Bytes)) != line[:8] {
			return fmt.Errorf("line %q does not continue at %08x", line, len(t.Bytes))
		}
		text, _, ok := strings.Cut(line[8:], " |")
		if !ok {
			return fmt.Errorf("line %q has no text", line)
		}
		row, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		if err != nil {
			return fmt.Errorf("line %q: %w", line, err)
		}
		t.Bytes = append(t.Bytes, row...)
	}
	if len(t.Bytes) == 0 {
		return fmt.Errorf("no bytes")
	}
	return lines.Err()
}
