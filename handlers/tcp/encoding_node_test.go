package tcp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/portluck/portluck/handlers/internal/chunktest"
	"github.com/portluck/portluck/testdata/need"
)

// decoderScript answers each list of chunks, in base64, with what StringDecoder returns for each
// chunk and for the end.
const decoderScript = `
const { StringDecoder } = require('string_decoder')
const lines = require('fs').readFileSync(0, 'utf8').split('\n').filter(Boolean)
const answers = lines.map((line) => {
  const { encoding, chunks } = JSON.parse(line)
  const d = new StringDecoder(encoding)
  return JSON.stringify([...chunks.map((c) => d.write(Buffer.from(c || '', 'base64'))), d.end()])
})
process.stdout.write(answers.join('\n'))`

var update = flag.Bool("update", false, "write testdata/stringdecoder.txt with what Node answers")

// Each event has what Node's StringDecoder returns, however a difficult stream is split.
func TestEncodingIsNodes(t *testing.T) {
	t.Parallel()
	node := need.Program(t, "node")
	var asked []decoding
	for _, in := range awkward() {
		for name := range decoderNames {
			chunktest.Each(in, func(chunks [][]byte) bool {
				asked = append(asked, decoding{name, chunks})
				return true
			})
		}
	}
	for i, want := range answers(t, node, asked) {
		if got := asked[i].events(); !slices.Equal(got, want) {
			t.Fatalf("%s of %q = %q, Node has %q", asked[i].Encoding, asked[i].Chunks, got, want)
		}
	}
}

// tableFile has Node's answers, for machines without Node.
const tableFile = "testdata/stringdecoder.txt"

// The table has Node's answers.
func TestEncodingTableIsNodes(t *testing.T) {
	t.Parallel()
	node := need.Program(t, "node")
	version, err := exec.CommandContext(t.Context(), node, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	asked := borderline()
	var table bytes.Buffer
	for i, events := range answers(t, node, asked) {
		table.WriteString(asked[i].line(events))
	}
	if *update {
		from := fmt.Sprintf("# from: StringDecoder of Node %s, by go test ./handlers/tcp -run TestEncodingTableIsNodes -update\n"+
			"# the encoding, the chunks, what each of them is told as, and the end\n", bytes.TrimSpace(version))
		if err := os.WriteFile(tableFile, append([]byte(from), table.Bytes()...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(readTable(t), ""); got != table.String() {
		t.Errorf("%s is not what Node answers; -update writes it", tableFile)
	}
}

// readTable returns the lines of the table.
func readTable(t *testing.T) []string {
	t.Helper()
	table, err := os.ReadFile(tableFile)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(strings.SplitAfter(string(table), "\n"), func(line string) bool { return line == "" || line[0] == '#' })
}

// Each event has what the table says, for each pair of bytes at the bounds of UTF-8's ranges, split
// and not, and for longer streams.
func TestEncodingTable(t *testing.T) {
	asked, table := borderline(), readTable(t)
	if len(asked) != len(table) {
		t.Fatalf("the table has %d lines, want %d", len(table), len(asked))
	}
	for i, a := range asked {
		if got := a.line(a.events()); got != table[i] {
			t.Errorf("%s, want %s", strings.TrimSpace(got), strings.TrimSpace(table[i]))
		}
	}
}

// answers returns what Node's StringDecoder returns for each chunk, and for the end.
func answers(t *testing.T, node string, asked []decoding) (all [][]string) {
	t.Helper()
	var stdin, stdout bytes.Buffer
	encoder := json.NewEncoder(&stdin)
	for _, a := range asked {
		if err := encoder.Encode(a); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), node, "-e", decoderScript)
	cmd.Stdin, cmd.Stdout = &stdin, &stdout
	if err := cmd.Run(); err != nil {
		t.Fatalf("node: %v", err)
	}
	decoder := json.NewDecoder(&stdout)
	for range asked {
		var events []string
		if err := decoder.Decode(&events); err != nil {
			t.Fatal(err)
		}
		all = append(all, events)
	}
	return all
}

// decoderNames has Node's names of the encodings.
var decoderNames = map[string]Encoding{"utf8": UTF8, "base64": Base64, "latin1": ASCII}

// decoding is a stream in chunks.
type decoding struct {
	Encoding string   `json:"encoding"` // Node's name
	Chunks   [][]byte `json:"chunks"`
}

// line returns the line of the table for a decoding with these events.
func (d decoding) line(events []string) string {
	line := d.Encoding
	for _, c := range d.Chunks {
		line += fmt.Sprintf(" %x", c)
	}
	for _, e := range events {
		line += " " + strconv.QuoteToASCII(e)
	}
	return line + "\n"
}

// events returns the text of each chunk, and the text of the last event before OnEnd.
func (d decoding) events() (all []string) {
	own := &decoder{encoding: decoderNames[d.Encoding]}
	for _, c := range d.Chunks {
		all = append(all, string(own.decode(c)))
	}
	return append(all, string(own.flush()))
}

// awkward returns the streams of the table, and random ones of bytes at the bounds of UTF-8's
// ranges.
func awkward() (all []string) {
	for _, tt := range encodings {
		all = append(all, tt.in)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		in := make([]byte, 1+r.IntN(6))
		for i := range in {
			in[i] = borders[r.IntN(len(borders))]
		}
		all = append(all, string(in))
	}
	return all
}

// borders are bytes at the bounds of UTF-8's ranges.
const borders = "A\x7f\x80\x8b\x8f\x90\x9f\xa0\xbf\xc0\xc1\xc2\xdf\xe0\xe1\xec\xed\xee\xef\xf0\xf1\xf3\xf4\xf5\xf7\xf8\xff"

// borderline returns the streams of the table.
func borderline() (all []decoding) {
	add := func(encoding string, in []byte, cuts int) {
		all = append(all, decoding{encoding, chunktest.At(string(in), func(i int) bool { return cuts>>(i-1)&1 == 1 })})
	}
	for _, a := range []byte(borders) {
		for _, b := range []byte(borders) {
			add("utf8", []byte{a, b}, 0)
			add("utf8", []byte{a, b}, 1)
		}
	}
	r := rand.New(rand.NewPCG(3, 4))
	for n := range 1200 {
		in := make([]byte, 3+n%4)
		for i := range in {
			in[i] = borders[r.IntN(len(borders))]
		}
		if n%3 > 0 { // it may be a code point
			in[0] = borders[11+r.IntN(16)]
			in[1] = borders[2+r.IntN(7)]
		}
		if n%3 > 1 {
			in[2] = borders[2+r.IntN(7)]
		}
		add("utf8", in, r.IntN(1<<(len(in)-1)))
	}
	for n := range 50 {
		in := make([]byte, 1+n%5)
		for i := range in {
			in[i] = byte(r.Uint32())
		}
		add("base64", in, r.IntN(1<<(len(in)-1)))
		add("latin1", in, r.IntN(1<<(len(in)-1)))
	}
	return all
}

// replaced is a simple version of what UTF8 does: it follows table 3-7 of the Unicode Standard byte
// by byte.
func replaced(in string) string {
	var out []byte
	for i := 0; i < len(in); {
		lead, more := in[i], 0
		low, high := byte(0x80), byte(0xbf) // the bounds of the second byte
		switch {
		case lead <= 0x7f:
			out = append(out, lead)
			i++
			continue
		case lead >= 0xc2 && lead <= 0xdf:
			more = 1
		case lead >= 0xe0 && lead <= 0xef:
			more = 2
		case lead >= 0xf0 && lead <= 0xf4:
			more = 3
		}
		switch lead {
		case 0xe0:
			low = 0xa0
		case 0xed:
			high = 0x9f
		case 0xf0:
			low = 0x90
		case 0xf4:
			high = 0x8f
		}
		end := i + 1
		for end < len(in) && end-i <= more && in[end] >= low && in[end] <= high {
			end, low, high = end+1, 0x80, 0xbf
		}
		if more > 0 && end-i == more+1 {
			out = append(out, in[i:end]...)
		} else {
			out = append(out, "\ufffd"...)
		}
		i = end
	}
	return string(out)
}

func FuzzEncoding(f *testing.F) {
	for _, tt := range encodings {
		f.Add([]byte(tt.in), uint64(5))
	}
	f.Fuzz(func(t *testing.T, in []byte, cuts uint64) {
		chunks := chunktest.At(string(in), func(i int) bool { return cuts>>(i%64)&1 == 1 })
		for e, want := range map[Encoding]string{
			Bytes: string(in), UTF8: replaced(string(in)), Base64: base64.StdEncoding.EncodeToString(in),
			ASCII: string(appendASCII(nil, in)),
		} {
			got := decodeAll(e, chunks)
			if got != want {
				t.Errorf("%v of %q = %q, want %q", e, chunks, got, want)
			}
			if back, err := e.bytes(got); (e == ASCII || e == Base64) && (string(back) != string(in) || err != nil) {
				t.Errorf("%v: %q became %q, %v", e, in, back, err)
			}
		}
	})
}
