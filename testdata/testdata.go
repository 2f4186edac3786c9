// Package testdata has the first bytes that real clients send, recorded by
//
//	go run ./testdata/record
//
// which needs the clients and runs them against a port of this machine. The files are never edited
// by hand.
//
// A transcript is a text file: lines of "key: value" (from: the command, with HOST and PORT where
// the address was; client: its version; class: what it is; date:), an empty line, and a hex dump.
package testdata

import (
	"bytes"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

//go:embed transcripts/*.txt
var files embed.FS

// The classes of transcripts: what the port should recognise.
const (
	HTTP1     = "http1"
	HTTP2     = "http2"
	WebSocket = "websocket"
	TLS       = "tls"
	SSH       = "ssh"
	Proxy     = "proxy"
	Raw       = "raw"
)

// Transcript has the first bytes that a client sends.
type Transcript struct {
	Name   string // the name of the file, without .txt
	From   string // the command that was recorded
	Client string // the version of the client
	Class  string // one of the classes
	Date   string // the day of the recording, YYYY-MM-DD
	Bytes  []byte
}

// Classes returns the classes.
func Classes() []string { return []string{HTTP1, HTTP2, WebSocket, TLS, SSH, Proxy, Raw} }

// All returns the transcripts in the order of their names. It panics if a file is malformed.
// Several goroutines may call it at once. They share the Bytes, which must not be changed.
func All() []Transcript { return slices.Clone(load()) }

// Get returns the transcript with this name, as [All] does. It panics if there is none.
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
	// In the order of the files curl-h2c-upgrade.txt would come before curl-h2c.txt.
	slices.SortFunc(all, func(a, b Transcript) int { return strings.Compare(a.Name, b.Name) })
	return all
})

// Format returns the text of t's file.
func Format(t Transcript) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "from: %s\nclient: %s\nclass: %s\ndate: %s\n\n", t.From, t.Client, t.Class, t.Date)
	b.WriteString(hex.Dump(t.Bytes))
	return b.Bytes()
}

// Parse parses a text of Format, and nothing else. It does not set the Name. Its error says what is
// malformed.
func Parse(b []byte) (Transcript, error) {
	head, dump, ok := strings.Cut(string(b), "\n\n")
	if !ok {
		return Transcript{}, errors.New("no empty line behind the head")
	}
	t, err := parseHead(head)
	if err != nil {
		return Transcript{}, err
	}
	if t.Bytes, err = parseDump(dump); err != nil {
		return Transcript{}, err
	}
	if !bytes.Equal(Format(t), b) {
		return Transcript{}, errors.New("not as Format writes it: was it edited?")
	}
	return t, nil
}

func parseHead(head string) (Transcript, error) {
	var t Transcript
	fields := map[string]*string{"from": &t.From, "client": &t.Client, "class": &t.Class, "date": &t.Date}
	for line := range strings.Lines(head) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		field := fields[key]
		switch {
		case field == nil:
			return t, fmt.Errorf("unknown key %q", key)
		case *field != "":
			return t, fmt.Errorf("%s is given twice", key)
		case value == "":
			return t, fmt.Errorf("%s is empty", key)
		}
		*field = value
	}
	for key, field := range fields {
		if *field == "" {
			return t, fmt.Errorf("%s is missing", key)
		}
	}
	if !slices.Contains(Classes(), t.Class) {
		return t, fmt.Errorf("unknown class %q", t.Class)
	}
	if _, err := time.Parse(time.DateOnly, t.Date); err != nil {
		return t, fmt.Errorf("date: %w", err)
	}
	return t, nil
}

// parseDump parses a hex dump. Each line has an offset, sixteen bytes in hex, and the same bytes as
// text between bars.
func parseDump(dump string) ([]byte, error) {
	var b []byte
	for line := range strings.Lines(dump) {
		offset := fmt.Sprintf("%08x", len(b))
		row, ok := strings.CutPrefix(line, offset)
		if !ok {
			return nil, fmt.Errorf("line %q does not continue at %s", line, offset)
		}
		row, _, ok = strings.Cut(row, " |")
		if !ok {
			return nil, fmt.Errorf("line %q has no text", line)
		}
		cells, err := hex.DecodeString(strings.ReplaceAll(row, " ", ""))
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		b = append(b, cells...)
	}
	if len(b) == 0 {
		return nil, errors.New("no bytes")
	}
	return b, nil
}
