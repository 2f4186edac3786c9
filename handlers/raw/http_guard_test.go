package raw

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/chunktest"
)

const headers = "User-Agent: x\r\nHost: localhost:8100\r\nContent-Length: 4\r\n\r\n"

var nul = Lines{Delimiter: "\x00"}

// guardTests are for TRAPS part 2, row 2: a request that reaches the raw handler is not a message.
var guardTests = []struct {
	name  string
	codec Lines
	in    string
	want  []string // messages before the connection is ended
	ok    bool     // the connection is not ended
}{
	{name: "POST", in: "POST /x HTTP/1.1\r\n" + headers + "evil\n"},
	{name: "lower case", in: "post /x http/1.1\nevil\n"},
	{name: "HTTP/1.0 without headers", in: "GET / HTTP/1.0\n\nevil\n"},
	{name: "absolute form", in: "GET http://example.com/ HTTP/1.1\r\nevil\n"},
	{name: "extension method", in: "M-SEARCH * HTTP/1.1\r\nevil\n"},
	{name: "preface of HTTP/2", in: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
	{name: "spaces in the target", in: "GET /a b c HTTP/1.1\r\nevil\n"},
	{name: "tabs and spaces around", in: " \tGET\t/ HTTP/1.1 \r\nevil\n"},
	{name: "empty lines first", in: "\r\n\nPOST / HTTP/1.1\r\nevil\n", want: []string{"\r", ""}},
	{name: "not ended", in: "GET / HTTP/1.1"},
	{name: "telemetry", in: "temp: 3\nhost: pi4\n", want: []string{"temp: 3", "host: pi4"}, ok: true},
	{name: "a command and a host", in: "SET temp 3\nhost: pi4\n", want: []string{"SET temp 3", "host: pi4"}, ok: true},
	{name: "host in the first line", in: "hOST:x\ny\n", want: []string{"hOST:x", "y"}, ok: true},
	{name: "a line before a request", in: "a\nPOST / HTTP/1.1\nHost: x\n", want: []string{"a", "POST / HTTP/1.1", "Host: x"}, ok: true},
	{name: "telemetry by NUL", codec: Lines{Delimiter: "\x00"}, in: "temp: 3\x00host: pi4\x00", want: []string{"temp: 3", "host: pi4"}, ok: true},
	{name: "telemetry of lines by NUL", codec: Lines{Delimiter: "\x00"}, in: "a b\nhost: pi4\x00", want: []string{"a b\nhost: pi4"}, ok: true},
	{name: "a request cut by commas", codec: Lines{Delimiter: ","}, in: "POST /a,b HTTP/1.1\r\n" + headers + "evil,", want: []string{"POST /a"}},
	{name: "a request cut at its method", codec: Lines{Delimiter: "/"}, in: "POST / HTTP/1.1\r\n" + headers + "evil/", want: []string{"POST ", " HTTP"}},
	{name: "request in the second line", in: "a\nGET / HTTP/1.1\n", want: []string{"a", "GET / HTTP/1.1"}, ok: true},
	{name: "text", in: "get the HTTP/1.1 spec\n", want: []string{"get the HTTP/1.1 spec"}, ok: true},
	{name: "no version", in: "GET /\n", want: []string{"GET /"}, ok: true},
	{name: "no target", in: "HTTP/1.1\n", want: []string{"HTTP/1.1"}, ok: true},
	{name: "no token", in: `{"a": "b HTTP/1"` + "\n", want: []string{`{"a": "b HTTP/1"`}, ok: true},
	{name: "hosts", in: "hosts: 3\n", want: []string{"hosts: 3"}, ok: true},
	{name: "allowed", codec: Lines{AllowHTTP: true}, in: "GET / HTTP/1.1\nHost: x\n", want: []string{"GET / HTTP/1.1", "Host: x"}, ok: true},
	{name: "CRLF as delimiter", codec: Lines{Delimiter: "\r\n"}, in: "POST / HTTP/1.1\r\n" + headers + "evil\r\n"},
	{name: "telemetry by commas", codec: Lines{Delimiter: ","}, in: "SET temp 3,host: pi4,Host: pi5,", want: []string{"SET temp 3", "host: pi4", "Host: pi5"}, ok: true},
	{name: "telemetry by spaces", codec: Lines{Delimiter: " "}, in: "temp: 3 host: pi4 Host: ", want: []string{"temp:", "3", "host:", "pi4", "Host:"}, ok: true},
	{name: "words by spaces", codec: Lines{Delimiter: " "}, in: "POST 3 host: pi4 ", want: []string{"POST", "3", "host:", "pi4"}, ok: true},
	{name: "telemetry of hosts", in: "host: pi4\nhost: pi5\nHost: pi6\n", want: []string{"host: pi4", "host: pi5", "Host: pi6"}, ok: true},
	{name: "a value that is a version", in: "protocol HTTP/1.1\n", want: []string{"protocol HTTP/1.1"}, ok: true},
	{name: "text that ends with a version", in: "we like HTTP/2\nand HTTP/1.1\n", want: []string{"we like HTTP/2", "and HTTP/1.1"}, ok: true},
	{name: "text that ends with a version, by NUL", codec: Lines{Delimiter: "\x00"}, in: "we like HTTP/2\x00Host: x\x00", want: []string{"we like HTTP/2", "Host: x"}, ok: true},
	{name: "text that is not ended", in: "we like HTTP/2", want: []string{"we like HTTP/2"}, ok: true},
	{name: "a path of a name like the version's", in: "PUT /a http/status\n", want: []string{"PUT /a http/status"}, ok: true},
	{name: "a version and more", in: "GET /guides/ http/2-guide\n", want: []string{"GET /guides/ http/2-guide"}, ok: true},
	{name: "OpenTSDB", in: "put sys.cpu.user 1356998400 42.5 host=webserver01 cpu=0\n", want: []string{"put sys.cpu.user 1356998400 42.5 host=webserver01 cpu=0"}, ok: true},
	{name: "a browser at a port by spaces", codec: Lines{Delimiter: " "}, in: "POST /x HTTP/1.1\r\n" + headers + "evil more ", want: []string{"POST", "/x", "HTTP/1.1\r\nUser-Agent:"}},
	{name: "a browser at a port by tabs", codec: Lines{Delimiter: "\t"}, in: "POST /x HTTP/1.1\r\n" + headers + "evil\tmore\t"},
	{name: "a browser at a port by equal signs", codec: Lines{Delimiter: "="}, in: "GET /?a=b HTTP/1.1\r\n" + headers + "evil=", want: []string{"GET /?a"}},
	{name: "a browser that takes it for a proxy", in: "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"},
	{name: "a browser that takes it for a proxy of HTTP", in: "GET http://example.com/a HTTP/1.1\r\nHost: example.com\r\n\r\n"},
	// "temp:" is not a token.
	{name: "a method of a page", in: "temp: /x HTTP/1.1\n", want: []string{"temp: /x HTTP/1.1"}, ok: true},
	{name: "any method of a page", in: "SET /x HTTP/1.1\r\n" + headers + "evil\n"},
	{name: "OPTIONS *", in: "OPTIONS * HTTP/1.1\r\n" + headers},
	{name: "allowed by spaces", codec: Lines{Delimiter: " ", AllowHTTP: true}, in: "POST /x HTTP/1.1 ", want: []string{"POST", "/x", "HTTP/1.1"}, ok: true},
	{name: "NUL as delimiter", codec: Lines{Delimiter: "\x00"}, in: "POST / HTTP/1.1\r\n" + headers + "evil\x00evil\x00"},
	{name: "NUL in the target", codec: Lines{Delimiter: "\x00"}, in: "POST /\x00x HTTP/1.1\r\n" + headers + "evil\x00", want: []string{"POST /"}},
	{name: "NUL and a long target", codec: Lines{Delimiter: "\x00", Limit: 5, Tail: true}, in: "POST /" + strings.Repeat("x", 5000) + " HTTP/1.1\r\nx: y\r\n\r\nevil\x00evil\x00"},
	{name: "last bytes only", codec: Lines{Limit: 5, Tail: true}, in: "POST / HTTP/1.1\r\n" + headers + "evil\n"},
	{name: "last bytes of a long target", codec: Lines{Limit: 5, Tail: true}, in: "POST /" + strings.Repeat("x", 5000) + " HTTP/1.1\r\nevil\n"},
	{name: "last bytes of a long first line", codec: Lines{Limit: 5, Tail: true}, in: "PUT /" + strings.Repeat("x", 5000) + "12345\nb\n", want: []string{"12345", "b"}, ok: true},
	{name: "a version of ten digits", in: "GET / HTTP/1111111111\n"},
	{name: "a version of eleven digits", in: "GET / HTTP/11111111111\n", want: []string{"GET / HTTP/11111111111"}, ok: true},
	{name: "a version without digits", in: "GET / HTTP/\n", want: []string{"GET / HTTP/"}, ok: true},
	{name: "a version in a text of lines", codec: nul, in: "we like HTTP/2\nmore\x00", want: []string{"we like HTTP/2\nmore"}, ok: true},
	{name: "a target in a text of lines", codec: nul, in: "GET /x\nmore\x00", want: []string{"GET /x\nmore"}, ok: true},
	{name: "a field behind no request", codec: nul, in: "{}\nHost: x\x00", want: []string{"{}\nHost: x"}, ok: true},
	{name: "a field in a later message", codec: nul, in: "{}\x00\nHost: x\x00", want: []string{"{}", "\nHost: x"}, ok: true},
	{name: "a field in a message after a word", codec: nul, in: "word\x00\nHost: x\x00", want: []string{"word", "\nHost: x"}, ok: true},
	{name: "a field after no method by spaces", codec: Lines{Delimiter: " "}, in: "{} x\nHost: x ", want: []string{"{}", "x\nHost:", "x"}, ok: true},
	{name: "Host in line 16", codec: nul, in: "GET /\x00" + strings.Repeat("x\n", 14) + "Host: x\x00", want: []string{"GET /"}},
	{
		name: "Host in line 17", codec: nul, in: "GET /\x00" + strings.Repeat("x\n", 15) + "Host: x\x00",
		want: []string{"GET /", strings.Repeat("x\n", 15) + "Host: x"}, ok: true,
	},
	{
		name: "Host far behind in a message", codec: Lines{Delimiter: "\x00", Limit: 5, Tail: true},
		in: "GET /\x00" + strings.Repeat("x", 2000) + "\nHost: x\x00", want: []string{"GET /", "st: x"}, ok: true,
	},
	{name: "a target as long as the window", codec: nul, in: "GET /" + strings.Repeat("x", guardWindow-5) + "\x00"},
	{
		name: "a target that is shorter", codec: nul, in: "GET /" + strings.Repeat("x", guardWindow-6) + "\x00",
		want: []string{"GET /" + strings.Repeat("x", guardWindow-6)}, ok: true,
	},
	{name: "a method of 32 bytes", in: strings.Repeat("M", 32) + " / HTTP/1.1\n"},
	{name: "a method of 33 bytes", in: strings.Repeat("M", 33) + " / HTTP/1.1\n", want: []string{strings.Repeat("M", 33) + " / HTTP/1.1"}, ok: true},
	{name: "a long version", in: "GET / HTTP/" + strings.Repeat("1", 3000) + "\n", want: []string{"GET / HTTP/" + strings.Repeat("1", 3000)}, ok: true},
}

func TestTraps2Row2HTTPIsNoMessage(t *testing.T) {
	for _, test := range guardTests {
		t.Run(test.name, func(t *testing.T) {
			var wantErr error
			if !test.ok {
				wantErr = handlers.ErrProtocol
			}
			check := func(chunks [][]byte) bool {
				codec := test.codec
				got, err := feed(&codec, chunks...)
				if !slices.Equal(got.msgs, test.want) || !errors.Is(err, wantErr) {
					t.Errorf("Decode(%.80q) = %q, %v, want %q, %v", chunks, got.msgs, err, test.want, wantErr)
				}
				return !t.Failed()
			}
			if len(test.in) < 200 {
				chunktest.Each(test.in, check)
				return
			}
			for _, size := range []int{1, 7, 1000, 1 << 20} {
				check(chunktest.Of(test.in, size))
			}
		})
	}
}

// The method of a request has these bytes (RFC 9110, section 5.6.2), and no others.
func TestGuardKnowsTokens(t *testing.T) {
	const token = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for c := range 256 {
		_, err := feed(&Lines{}, []byte{byte(c), ' ', '/', ' ', 'H', 'T', 'T', 'P', '/', '1', '.', '1', '\n'})
		if got, want := errors.Is(err, handlers.ErrProtocol), strings.IndexByte(token, byte(c)) >= 0; got != want {
			t.Errorf("a method of %q is taken for a request: %t, want %t", byte(c), got, want)
		}
	}
}

// A browser gets a response that it understands, and that ends the connection.
func TestRefusalIsHTTP(t *testing.T) {
	answer := (&Lines{}).AppendClose(nil, handlers.ErrProtocol)
	r := bufio.NewReader(bytes.NewReader(answer))
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusBadRequest || !resp.Close {
		t.Errorf("ReadResponse = %d, close %t, %v, want 400, close true, nil", resp.StatusCode, resp.Close, err)
	}
	if r.Buffered() > 0 || !bytes.HasSuffix(body, []byte("not HTTP.\n")) {
		t.Errorf("body = %q and %d bytes, want a sentence and 0", body, r.Buffered())
	}
}
