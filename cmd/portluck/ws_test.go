package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/portluck/portluck/testdata/need"
)

// frame returns the bytes of a frame from a server.
func frame(op ws.OpCode, fin bool, body string) []byte {
	return ws.MustCompileFrame(ws.NewFrame(op, fin, []byte(body)))
}

func closeFrame(code ws.StatusCode, reason string) []byte {
	return ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(code, reason)))
}

// readFrame reads a frame of at most 1000 bytes, and unmasks it.
func readFrame(r io.Reader) (ws.Frame, error) {
	h, err := ws.ReadHeader(r)
	if err != nil {
		return ws.Frame{}, err
	}
	f := ws.Frame{Header: h, Payload: make([]byte, min(h.Length, 1000))}
	if _, err := io.ReadFull(r, f.Payload); err != nil {
		return f, err
	}
	if h.Masked {
		ws.Cipher(f.Payload, h.Mask, 0)
	}
	return f, nil
}

// serveFrames returns a client that receives frames. sent gets what the client sends, at its end.
func serveFrames(t *testing.T, limit int64, frames ...[]byte) (p *wsPeer, sent <-chan []ws.Frame) {
	t.Helper()
	client, server := net.Pipe()
	t.Cleanup(func() { client.Close() })
	done := make(chan []ws.Frame, 1)
	go func() { // ends with the client
		var all []ws.Frame
		for {
			f, err := readFrame(server)
			if err != nil {
				done <- all
				return
			}
			all = append(all, f)
		}
	}()
	return newWSPeer(client, bytes.NewReader(bytes.Join(frames, nil)), limit), done
}

func TestWebSocketReceive(t *testing.T) {
	text := func(s string) []byte { return frame(ws.OpText, true, s) }
	tests := []struct {
		name   string
		frames [][]byte
		want   string // the messages
		err    string // part of the last receive's error; io.EOF if empty
		sent   string // opcodes and bodies of what the client sent
	}{
		{"messages", [][]byte{text("a"), frame(ws.OpBinary, true, "b"), text(""), closeFrame(1000, "")}, "a|b||", "", "8\x03\xe8"},
		{
			"fragments", [][]byte{
				frame(ws.OpText, false, "a"), frame(ws.OpContinuation, false, ""), frame(ws.OpContinuation, false, "b"),
				frame(ws.OpContinuation, true, "c"), text("d"), closeFrame(1000, ""),
			}, "abc|d|", "", "8\x03\xe8",
		},
		{
			"pings between fragments", [][]byte{
				frame(ws.OpPing, true, "1"), frame(ws.OpText, false, "a"), frame(ws.OpPing, true, "2"), frame(ws.OpPong, true, "x"),
				frame(ws.OpContinuation, true, "b"), frame(ws.OpPing, true, ""), frame(ws.OpPong, true, ""), closeFrame(1001, "bye"),
			}, "ab|", "", "A1 A2 A 8\x03\xe9",
		},
		{"a character cut in two", [][]byte{frame(ws.OpText, false, "\xc3"), frame(ws.OpContinuation, true, "\xa9"), closeFrame(1000, "")}, "é|", "", "8\x03\xe8"},
		{"close without a code", [][]byte{frame(ws.OpClose, true, "")}, "", "", "8"},
		{"close with a code", [][]byte{text("a"), closeFrame(1011, "out of\x1b[2J luck")}, "a|", `the server closed with code 1011: "out of\x1b[2J luck"`, "8\x03\xf3"},
		{"close between fragments", [][]byte{frame(ws.OpText, false, "a"), closeFrame(4000, "")}, "", "the server closed with code 4000", "8\x0f\xa0"},
		{"close of one byte", [][]byte{frame(ws.OpClose, true, "x")}, "", "protocol", "8\x03\xea"},
		{"close with a code that is none", [][]byte{frame(ws.OpClose, true, "\x03\xed")}, "", "protocol", "8\x03\xea"},
		{"no close", [][]byte{text("a")}, "a|", "without a close", ""},
		{"cut", [][]byte{text("a")[:2]}, "", "without a close", ""},
		{"cut between fragments", [][]byte{frame(ws.OpText, false, "a")}, "", "without a close", ""},
		{"a message within another", [][]byte{frame(ws.OpText, false, "a"), text("b")}, "", "protocol", "8\x03\xea"},
		{"a continuation of nothing", [][]byte{frame(ws.OpContinuation, true, "b")}, "", "protocol", "8\x03\xea"},
		{"masked", [][]byte{ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte("a"))))}, "", "protocol", "8\x03\xea"},
		{"too long", [][]byte{text(strings.Repeat("x", 101))}, "", "longer than 100 bytes", "8\x03\xf1"},
		{"too long in fragments", [][]byte{frame(ws.OpText, false, strings.Repeat("x", 60)), frame(ws.OpContinuation, true, strings.Repeat("x", 41))}, "", "longer than 100 bytes", "8\x03\xf1"},
		{"says that it is too long", [][]byte{{0x82, 127, 0x7f, 255, 255, 255, 255, 255, 255, 255}}, "", "longer than 100 bytes", "8\x03\xf1"},
		{"as long as may be", [][]byte{text(strings.Repeat("x", 100)), text("a"), closeFrame(1000, "")}, strings.Repeat("x", 100) + "|a|", "", "8\x03\xe8"},
		{"no UTF-8", [][]byte{text("\xff")}, "", "UTF-8", "8\x03\xef"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, sent := serveFrames(t, 100, tt.frames...)
			p.SetDeadline(time.Now().Add(time.Minute))
			var got strings.Builder
			var err error
			for {
				var msg string
				if msg, err = p.receive(); err != nil {
					break
				}
				got.WriteString(msg + "|")
			}
			if got.String() != tt.want {
				t.Errorf("received %q, want %q", got.String(), tt.want)
			}
			switch {
			case tt.err == "" && !errors.Is(err, io.EOF):
				t.Errorf("it ended with %v, want io.EOF", err)
			case tt.err != "" && (errors.Is(err, io.EOF) || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("it ended with %v, want %q", err, tt.err)
			}
			p.close()
			var list []string
			for _, f := range <-sent {
				body := f.Payload
				if f.Header.OpCode == ws.OpClose && len(body) > 2 {
					body = body[:2] // the reason may have any text
				}
				list = append(list, string("0123456789A"[f.Header.OpCode])+string(body))
			}
			if got := strings.Join(list, " "); got != tt.sent {
				t.Errorf("sent %q, want %q", got, tt.sent)
			}
		})
	}
}

// The client sends one close frame, and nothing after it.
func TestWebSocketSendsOneClose(t *testing.T) {
	p, sent := serveFrames(t, 100, frame(ws.OpPing, true, "late"), closeFrame(1000, ""))
	if err := errors.Join(p.send("a"), p.end()); err != nil {
		t.Fatal(err)
	}
	if err := p.send("b"); err == nil {
		t.Error("a message is sent after the close frame")
	}
	if _, err := p.receive(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	p.close()
	if all := <-sent; len(all) != 2 || all[0].Header.OpCode != ws.OpText || all[1].Header.OpCode != ws.OpClose {
		t.Errorf("sent %v", all)
	}
}

func TestLines(t *testing.T) {
	p, sent := net.Pipe()
	go func() { // ends with what it writes
		io.WriteString(sent, "a\n\nb\r\n"+strings.Repeat("x", 100)+"\nend")
		sent.Close()
	}()
	defer p.Close()
	lines := newLines(p, 100)
	for _, want := range []string{"a", "", "b\r", strings.Repeat("x", 100), "end"} {
		if got, err := lines.next(); got != want || err != nil {
			t.Errorf("next() = %q, %v, want %q", got, err, want)
		}
	}
	if _, err := lines.next(); !errors.Is(err, io.EOF) {
		t.Errorf("next() = %v, want io.EOF", err)
	}
	lines = newLines(strings.NewReader(strings.Repeat("x", 101)), 100)
	if got, err := lines.next(); err == nil || !strings.Contains(err.Error(), "longer than 100 bytes") {
		t.Errorf("next() = %q, %v, want an error", got, err)
	}
}

// The client understands Python's server, which sends fragments, pings between them, and a close
// code.
func TestPythonServer(t *testing.T) {
	t.Parallel()
	python := need.Python(t, "websockets")
	server := exec.Command("timeout", "60", python, "-c", `
import asyncio, websockets
async def talk(ws):
    text = await ws.recv()
    async def parts():
        yield text + " 1,"
        pong = await ws.ping()
        await pong
        yield " 2"
    await ws.send(parts())
    await ws.close(4001, "no more")
async def main():
    async with websockets.serve(talk, "127.0.0.1", 0, ping_timeout=60, close_timeout=60) as s:
        print(s.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()
asyncio.run(main())
`)
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Process.Signal(os.Interrupt)
		server.Wait()
	})
	port, err := newLines(out, 100).next()
	if err != nil {
		t.Fatal(err)
	}
	cmd := command(t, "send", "--timeout", "1m", "ws://127.0.0.1:"+port+"/", "hello")
	got, err := cmd.CombinedOutput()
	if want := "hello 1, 2\nportluck: the server closed with code 4001: \"no more\"\n"; string(got) != want || err == nil {
		t.Errorf("portluck send: %q, %v, want %q", got, err, want)
	}
}
