//go:build linux

package portluck

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/portluck/portluck/handlers"
	"github.com/rs/zerolog"
)

// logBuffer is what was logged.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Of what no route knows the first bytes are logged, in hex, 32 of them and not too often: part 2, row 21.
func TestTraps2Row21FirstBytesInHex(t *testing.T) {
	t.Parallel()
	out := &logBuffer{}
	logger := zerolog.New(out)
	s := &Server{Hub: &Hub{}, OnUnmatched: handlers.Refuse, Logger: &logger}
	addr := serve(t, s)
	const first = "\x1b[31m\r\n\"level\":\"forged\"}"
	const clients = 300
	begin := time.Now()
	for range clients {
		c := dial(t, addr)
		send(t, c, first+strings.Repeat("x", 100))
		c.Close()
	}
	eventually(t, "all have failed", func() bool { return s.Stats().Failed == clients })
	got := out.String()
	if want := fmt.Sprintf(`"first":"%x`, first); !strings.Contains(got, want) {
		t.Errorf("the log has no %s: %.1000s", want, got)
	}
	if strings.ContainsAny(got, "\x1b\r") || strings.Contains(got, "forged") {
		t.Errorf("what the client said is in the log: %.1000q", got)
	}
	if hex := strings.Repeat("78", 33-len(first)); strings.Contains(got, hex) {
		t.Errorf("more than 32 bytes are in the log: %.1000s", got)
	}
	took := time.Since(begin)
	if n := strings.Count(got, "\n"); n > 40*int(took/time.Second+2) { // there are two kinds of lines, 20 of each in a second
		t.Errorf("%d lines of %d clients in %v", n, clients, took)
	}
}

// What clients say is in no line, whatever becomes of them.
func TestTraps2Row21NoPayload(t *testing.T) {
	t.Parallel()
	const secret = "SECRET"
	out := &logBuffer{}
	logger := zerolog.New(out).Level(zerolog.TraceLevel)
	hub := &Hub{OnMessage: func(m Message, _ *Writer, _ *Client) {
		if strings.HasSuffix(m.String(), "panic") {
			panic("a callback's own words")
		}
	}}
	hub.RoomOptions = func(string) RoomOptions { return RoomOptions{History: 1} }
	s := &Server{
		Hub: hub, TLSConfig: withTLS(), Logger: &logger,
		RoomOf: func(*http.Request) (string, bool) { return "room", true },
	}
	addr := serve(t, s)
	talk(t, addr, "{"+secret+"\n{"+secret+"panic\n")
	for _, head := range []string{
		"POST /SECRET HTTP/1.1\r\nHost: SECRET\r\nContent-Length: 6\r\n\r\nSECRET",
		"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nSECRET\r\n",
		"POST / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://SECRET\r\nContent-Length: 0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nLast-Event-ID: SECRET\r\n\r\n",
		"GET /?since=SECRET HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: SECRET\r\n\r\n",
		"GET SECRET /SECRET HTTP/1.1\r\nSECRET: SECRET\r\n\r\n",
		"PROXY SECRET\r\n",
		"\x16\x03\x01SECRET",
	} {
		talk(t, addr, strings.Replace(head, "Host: localhost\r\n", "Host: localhost\r\nConnection: close\r\n", 1))
	}
	for _, code := range []ws.StatusCode{1000, 4000} {
		w := dialWS(t, "ws://"+addr)
		w.send(t, Text, secret)
		frame := ws.NewCloseFrame(ws.NewCloseFrameBody(code, secret))
		if err := ws.WriteFrame(w, ws.MaskFrame(frame)); err != nil {
			t.Error(err)
		}
		w.Close()
	}
	_ = tls.Client(dial(t, addr), &tls.Config{InsecureSkipVerify: true, ServerName: "SECRET.example", NextProtos: []string{secret}}).Handshake()
	eventually(t, "all are gone", func() bool { return s.Stats().Open == 0 && hub.Len() == 0 })
	eventually(t, "the last is logged", func() bool { return strings.Contains(out.String(), "4000") })
	for line := range strings.Lines(out.String()) {
		if strings.Contains(strings.ToUpper(line), secret) {
			t.Errorf("logged: %s", line)
		}
	}
}

// A line at the end of each client tells who it was, for how long, and how much it has sent and
// got.
func TestDisconnectLine(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			out := &logBuffer{}
			logger := zerolog.New(out).Level(zerolog.DebugLevel)
			hub := &Hub{}
			hub.OnConnect = func(_ *Writer, c *Client) { _ = hub.Room("room").Join(c) }
			hub.OnMessage = func(m Message, w *Writer, _ *Client) {
				_, _ = w.WriteString("12345")                  // 5 bytes
				_ = w.Send(m)                                  // 5
				hub.Room("room").Publish(TextMessage("12345")) // 6, with the line end
			}
			s := &Server{Hub: hub, Logger: &logger}
			address := "127.0.0.1:0"
			if network == "unix" {
				address = filepath.Join(t.TempDir(), "s")
			}
			l, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			go func() { _ = s.Serve(l) }() // ends with the server
			defer s.Close()
			c, err := net.Dial(network, l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := io.WriteString(c, "hello\n"); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, make([]byte, 5+6+6)); err != nil {
				t.Fatal(err)
			}
			c.Close()
			eventually(t, "it is logged", func() bool { return strings.Contains(out.String(), "disconnect") })
			remote := "unix:@"
			if network == "tcp" {
				remote = c.LocalAddr().String()
			}
			var last struct {
				Message, Remote string
				Duration        *float64
				In, Out         int
			}
			for line := range strings.Lines(out.String()) {
				if err := json.Unmarshal([]byte(line), &last); err != nil {
					t.Fatal(err)
				}
				if last.Remote != remote {
					t.Errorf("%s has not the remote %s", line, remote)
				}
			}
			if last.Message != "disconnect" || last.Duration == nil || *last.Duration < 0 || last.In != 5 || last.Out != 16 {
				t.Errorf("the last line is %+v, want a disconnect with a duration, 5 bytes in and 16 out", last)
			}
			empty := true
			s.port.log.meters.Range(func(any, any) bool { empty = false; return false })
			if !empty {
				t.Error("a client that has gone is still counted for")
			}
		})
	}
}
