package main

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

func frames(all ...ws.Frame) string {
	var b bytes.Buffer
	for _, f := range all {
		ws.MustWriteFrame(&b, f)
	}
	return b.String()
}

func fragment(op ws.OpCode, fin bool, text string) ws.Frame {
	return ws.NewFrame(op, fin, []byte(text))
}

// decodeTests are what servers send.
var decodeTests = []struct {
	name  string
	codec func() codec
	in    string
	want  []string
	err   string
}{
	{"lines", newLine, "one\ntwo\n\nthree", []string{"one", "two", "", "three"}, ""},
	{"nothing", newLine, "", nil, ""},
	{"length", newHTTP, "HTTP/1.1 200 OK\r\nContent-length: 3\r\n\r\noneHTTP/1.1 200 OK\r\nContent-Length:0\r\n\r\n", []string{"one", ""}, ""},
	{"chunks", newHTTP, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\none\r\nA\r\n and so on\r\n0\r\nA: b\r\n\r\n", []string{"one and so on"}, ""},
	{"until the end", newHTTP, "HTTP/1.0 200 OK\r\nServer: old\r\n\r\none", []string{"one"}, ""},
	{"interim", newHTTP, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", []string{""}, ""},
	{"refused", newHTTP, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", nil, `the server answered "HTTP/1.1 403 Forbidden"`},
	{"not HTTP", newHTTP, "one\r\n\r\n", nil, `the server answered "one"`},
	{"bad length", newHTTP, "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", nil, "Content-Length: -1"},
	{"bad chunk", newHTTP, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", nil, "broken chunk"},
	{"huge chunk", newHTTP, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n", nil, "broken chunk"},
	{"frames", newWS, frames(ws.NewTextFrame([]byte("one")), ws.NewBinaryFrame(bytes.Repeat([]byte("x"), 300))), []string{"one", strings.Repeat("x", 300)}, ""},
	{
		"fragments", newWS, frames(fragment(ws.OpText, false, "o"), ws.NewPingFrame([]byte("?")), fragment(ws.OpContinuation, false, "n"),
			fragment(ws.OpContinuation, true, "e"), ws.NewPongFrame(nil), ws.NewTextFrame(nil)),
		[]string{"one", ""},
		"",
	},
	{"goodbye", newWS, frames(ws.NewTextFrame([]byte("one")), ws.NewCloseFrame(ws.NewCloseFrameBody(1001, "end"))), []string{"one"}, "goodbye: 1001 end"},
	{"masked", newWS, frames(ws.MaskFrame(ws.NewTextFrame([]byte("one")))), nil, "masked"},
}

func newLine() codec { return lineCodec{} }
func newHTTP() codec { return newHTTPCodec(&plan{Host: "a", Path: "/"}) }
func newWS() codec   { return newWSCodec() }

// decodeBy feeds in to c, some bytes at a time.
func decodeBy(c codec, in string, piece int) (got []string, err error) {
	keep := func(msg []byte) { got = append(got, string(msg)) }
	var rest []byte
	for len(in) > 0 && err == nil {
		k := min(piece, len(in))
		rest = append(rest, in[:k]...)
		in = in[k:]
		var n int
		n, err = c.decode(rest, false, keep)
		rest = rest[n:]
	}
	if err == nil {
		_, err = c.decode(rest, true, keep)
	}
	return got, err
}

// What is decoded does not depend on how the network cut it.
func TestDecode(t *testing.T) {
	for _, tc := range decodeTests {
		t.Run(tc.name, func(t *testing.T) {
			for _, piece := range []int{1, 2, 7, 1 << 20} {
				got, err := decodeBy(tc.codec(), tc.in, piece)
				if !slices.Equal(got, tc.want) {
					t.Errorf("decode by %d = %q, want %q", piece, got, tc.want)
				}
				if tc.err != "" {
					wantError(t, err, tc.err)
				} else if err != nil {
					t.Errorf("decode by %d: %v", piece, err)
				}
			}
		})
	}
}

// readFrame reads a client's frame.
func readFrame(r io.Reader) (op ws.OpCode, payload string) {
	h, err := ws.ReadHeader(r)
	if err != nil || h.Length > 1<<10 {
		return 0, ""
	}
	b := make([]byte, h.Length)
	_, _ = io.ReadFull(r, b) // what is missing is zeros
	ws.Cipher(b, h.Mask, 0)
	return h.OpCode, string(b)
}

func TestReply(t *testing.T) {
	c := newWSCodec()
	if _, err := c.decode([]byte(frames(ws.NewPingFrame([]byte("1")), ws.NewPingFrame([]byte("2")))), false, nil); err != nil {
		t.Fatal(err)
	}
	r := bytes.NewReader(c.reply())
	for _, want := range []string{"1", "2"} {
		if op, got := readFrame(r); op != ws.OpPong || got != want {
			t.Errorf("reply %v %q, want a pong of %q", op, got, want)
		}
	}
	if b := c.reply(); len(b) != 0 {
		t.Errorf("a second reply %q", b)
	}
}

func TestEncodeHTTP(t *testing.T) {
	got := string(newHTTP().encode([]byte("x"), []byte("one")))
	want := "xPOST / HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\none\n"
	if got != want {
		t.Errorf("encode() = %q, want %q", got, want)
	}
}

func FuzzDecode(f *testing.F) {
	for _, tc := range decodeTests {
		f.Add(tc.in, 3)
	}
	f.Fuzz(func(t *testing.T, in string, piece int) {
		for _, c := range []func() codec{newLine, newHTTP, newWS} {
			whole, err := decodeBy(c(), in, len(in))
			parts, partsErr := decodeBy(c(), in, max(piece, 1))
			if !slices.Equal(whole, parts) || (err == nil) != (partsErr == nil) {
				t.Errorf("by %d: %q, %v; whole: %q, %v", piece, parts, partsErr, whole, err)
			}
		}
	})
}

func FuzzParsePublished(f *testing.F) {
	f.Add([]byte("[tcp] portload:00000000000000ff0000000000000001..."))
	f.Add([]byte("portload:x"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		seq, sent, ok := parsePublished(msg)
		if !ok {
			return
		}
		if again, at, ok := parsePublished(published(nil, len(msg)+markSize, seq, sent)); !ok || again != seq || !at.Equal(sent) {
			t.Errorf("parsePublished(%q) = %d, %v; again %d, %v, %t", msg, seq, sent, again, at, ok)
		}
	})
}
