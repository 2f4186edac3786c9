//go:build linux

package portluck

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/gobwas/ws"
	"github.com/portluck/portluck/handlers"
	"github.com/rs/zerolog"
)

// The bytes of a client that no route matches are not logged in any form, and the lines about such
// clients are few.
func TestTraps2Row21FirstBytes(t *testing.T) {
	out := &logBuffer{}
	logger := zerolog.New(out).Level(zerolog.TraceLevel)
	s := &Server{Hub: &Hub{}, OnUnmatched: handlers.Refuse, Logger: &logger}
	addr := serve(t, s)
	const first = "\x1b[31m\r\nPASS forged"
	const clients = 300
	for range clients {
		c := dial(t, addr)
		send(t, c, first+strings.Repeat("x", 100))
		c.Close()
	}
	eventually(t, "all have failed", func() bool { return s.Stats().Failed == clients })
	got := out.String()
	if !strings.Contains(got, `"no route"`) {
		t.Errorf("it is not logged: %.1000q", got)
	}
	for _, forms := range []string{"%s", "%q", "%x", "%X", "% x", "%v"} {
		if word := fmt.Sprintf(forms, []byte("forged")); strings.Contains(got, strings.Trim(word, `"`)) {
			t.Errorf("what the client said is in the log, as %s: %.1000q", forms, got)
		}
	}
	if strings.Contains(got, base64.StdEncoding.EncodeToString([]byte(first))[:16]) {
		t.Errorf("what the client said is in the log, in base64: %.1000q", got)
	}
	// there are two lines for each, of 20 in a second
	if n := strings.Count(got, "\n"); n > clients/2 {
		t.Errorf("%d lines of %d clients", n, clients)
	}
}

// An error is logged in full if its text cannot contain anything that a client has sent. Otherwise
// only its type is logged.
func TestTraps2Row21Errors(t *testing.T) {
	const secret = "SECRET"
	_, number := strconv.Atoi(secret)
	_, address := url.Parse(fmt.Sprint("http://[", secret))
	_, file := os.Open("/SECRET")
	closed := &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	for _, tt := range []struct {
		err  error
		want string // of the log
	}{
		{nil, ""},
		{io.ErrUnexpectedEOF, "unexpected EOF"},
		{closed, closed.Error()},
		{fmt.Errorf("upgrade: %w", closed), "upgrade: " + closed.Error()},
		{fmt.Errorf("origin: %w", handlers.ErrPolicy), "origin: refused"},
		{fmt.Errorf("x: %w", &handlers.Refusal{Status: 401, Text: "ann's password is wrong"}), "refused with status 401"},
		{fmt.Errorf("%w: %w", ErrProxy, errProxy), "portluck: PROXY header: malformed"},
		{os.ErrDeadlineExceeded, "i/o timeout"},
		{number, "*strconv.NumError"},
		{fmt.Errorf("line: %w", number), "*strconv.NumError"},
		{errors.Join(io.EOF, number), "*strconv.NumError"},
		{fmt.Errorf("%w: %w", handlers.ErrProtocol, address), "*url.Error"},
		{file, "*fs.PathError"},
		{textproto.ProtocolError("malformed MIME header: missing colon: SECRET"), "textproto.ProtocolError"},
		{&net.DNSError{Name: secret}, "*net.DNSError"},
		{fmt.Errorf("%w: %v", handlers.ErrPanic, number), "callback panicked"},
		{&tls.CertificateVerificationError{Err: number}, "*tls.CertificateVerificationError"},
	} {
		got := ours(tt.err)
		if tt.err == nil && got == nil {
			continue
		}
		if got == nil || got.Error() != tt.want {
			t.Errorf("ours(%v) = %v, want %s", tt.err, got, tt.want)
		}
	}
}

// No line contains what a client has sent, however the client ends.
func TestTraps2Row21NoPayload(t *testing.T) {
	t.Parallel()
	const secret = "SECRET"
	out := &logBuffer{}
	logger := zerolog.New(out).Level(zerolog.TraceLevel)
	hub := &Hub{OnMessage: func(m Message, _ *Writer, _ *Client) {
		if strings.HasSuffix(m.String(), "panic") {
			panic("cannot read " + m.String())
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
		"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nSECRET\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nSECRET\r\n\r\n",
		"GET /SECRET?token=SECRET HTTP/1.1\r\nHost: SECRET.example\r\nCookie: SECRET\r\nAuthorization: Basic SECRET\r\n\r\n",
		"GET /?since=SECRET HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: SECRET\r\n\r\n",
		"GET SECRET /SECRET HTTP/1.1\r\nSECRET: SECRET\r\n\r\n",
		"PROXY SECRET\r\n",
		"\x16\x03\x01SECRET",
	} {
		talk(t, addr, strings.Replace(head, "Host: localhost\r\n", "Host: localhost\r\nConnection: close\r\n", 1))
	}
	_, resp := stream(t, "http://"+addr, secret)
	resp.Body.Close()
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

// At the end of each client a line tells who it was, how long it was connected, and how much it has
// sent and received.
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
		})
	}
}
