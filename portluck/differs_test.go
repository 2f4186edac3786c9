package portluck

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/portluck/portluck/handlers"
)

// The tests in this file cover the rows of README's table of differences, and the limits, that no
// other test covers.

// A speaker is a client that sends messages and ends its side.
type speaker struct {
	scheme string
	dial   func(t *testing.T, addr string) net.Conn // a connection of the raw, or HTTP, client
	say    func(t *testing.T, c net.Conn, s string) // sends s as one message
}

// sayLine sends s without a line end, which ends the stream.
func sayLine(t *testing.T, c net.Conn, s string) {
	t.Helper()
	_, _ = io.WriteString(c, s) // a server that refuses the client may close before all is sent
	_ = c.(interface{ CloseWrite() error }).CloseWrite()
}

// sayPost sends s as the body of a request.
func sayPost(t *testing.T, c net.Conn, s string) {
	t.Helper()
	_, _ = fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(s), s)
}

// sayFrame sends s as a text message of a WebSocket.
func sayFrame(t *testing.T, c net.Conn, s string) {
	t.Helper()
	_ = wsutil.WriteClientMessage(c, ws.OpText, []byte(s))
}

func plainly(t *testing.T, addr string) net.Conn  { return dial(t, addr) }
func securely(t *testing.T, addr string) net.Conn { return dialTLS(t, addr) }

// everyClient is one of each protocol of a TCP port.
var everyClient = []speaker{
	{"tcp", plainly, sayLine},
	{"tls", securely, sayLine},
	{"http", plainly, sayPost},
	{"https", func(t *testing.T, addr string) net.Conn { return dialTLS(t, addr, "http/1.1") }, sayPost},
	{"ws", func(t *testing.T, addr string) net.Conn { return dialWS(t, "ws://"+addr) }, sayFrame},
	{"wss", func(t *testing.T, addr string) net.Conn { return dialWS(t, "wss://"+addr) }, sayFrame},
}

// heard returns everything that a server sends to a client until the end, or one message to a
// WebSocket.
func heard(t *testing.T, scheme string, c net.Conn) string {
	t.Helper()
	if strings.HasPrefix(scheme, "ws") {
		h, err := ws.ReadHeader(c)
		if err != nil || h.Length > 1<<10 {
			t.Fatalf("a frame of %d bytes, %v", h.Length, err)
		}
		payload := make([]byte, h.Length)
		_, err = io.ReadFull(c, payload)
		if h.OpCode == ws.OpClose {
			code, _ := ws.ParseCloseFrameData(payload)
			return fmt.Sprintf("close %d", code)
		}
		return fmt.Sprint(string(payload), err)
	}
	got, err := io.ReadAll(c)
	if err != nil && len(got) == 0 {
		t.Fatal(err)
	}
	return joined(string(got))
}

// A message that is too long gets the error of its protocol. With MessageTail its end is delivered
// instead, except over WebSocket.
func TestMessageLimitOfEveryClient(t *testing.T) {
	t.Parallel()
	refusals := map[string]string{
		"tcp": "error: message longer than 10 bytes\n", "tls": "error: message longer than 10 bytes\n",
		"http": "HTTP/1.1 413 ", "https": "HTTP/1.1 413 ", "ws": "close 1009", "wss": "close 1009",
	}
	for _, tail := range []bool{false, true} {
		hub, _ := record(func(m Message, w *Writer) {
			_ = w.Send(TextMessage(fmt.Sprintf("%d %s", len(m.Data), m.Data[len(m.Data)-3:])))
		})
		addr := serve(t, &Server{Hub: hub, TLSConfig: withTLS(), MessageLimit: 10, MessageTail: tail})
		for _, client := range everyClient {
			for _, more := range []int{0, 1} {
				c := client.dial(t, addr)
				client.say(t, c, strings.Repeat("x", 7+more)+"end")
				got := heard(t, client.scheme, c)
				want := "10 end"
				if more > 0 && (!tail || strings.HasPrefix(client.scheme, "ws")) {
					want = refusals[client.scheme]
				}
				if !strings.Contains(got, want) {
					t.Errorf("%s, tail %t, %d bytes more: %.200q, want %q", client.scheme, tail, more, got, want)
				}
			}
		}
	}
}

// Send sends one message, framed as the protocol frames messages.
func TestSend(t *testing.T) {
	t.Parallel()
	hub := &Hub{OnMessage: func(_ Message, w *Writer, _ *Client) {
		if err := errors.Join(w.Send(TextMessage("a b")), w.Send(Message{Data: []byte("c"), Kind: Binary}), w.End()); err != nil {
			t.Error(err)
		}
	}}
	addr := serve(t, &Server{Hub: hub, TLSConfig: withTLS()})
	for _, client := range everyClient {
		c := client.dial(t, addr)
		client.say(t, c, "x")
		if w, ok := c.(*wsClient); ok {
			w.expect(t, Text, "a b")
			w.expect(t, Binary, "c")
			w.expectClose(t, ws.StatusNormalClosure)
			continue
		}
		if got := heard(t, client.scheme, c); got != "a b\nc\n" && !strings.HasSuffix(got, "\r\n\r\na b\nc\n") {
			t.Errorf("%s: read %q", client.scheme, got)
		}
	}
}

// After the end, every method that writes returns an error and sends nothing.
func TestWriteAfterTheEnd(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(w *Writer){
		"End":     func(w *Writer) { w.End() },
		"Destroy": (*Writer).Destroy,
	} {
		hub := &Hub{OnMessage: func(_ Message, w *Writer, c *Client) {
			w.WriteString("whole")
			end(w)
			_, bytesErr := w.Write([]byte("after"))
			_, stringErr := w.WriteString("after")
			for _, err := range []error{bytesErr, stringErr, w.Send(TextMessage("after"))} {
				if !errors.Is(err, handlers.ErrClosed) {
					t.Errorf("%s after %s: %v, want ErrClosed", c.Scheme(), name, err)
				}
			}
		}}
		addr := serve(t, &Server{Hub: hub, TLSConfig: withTLS()})
		for _, client := range everyClient {
			c := client.dial(t, addr)
			client.say(t, c, "x")
			if got, _ := io.ReadAll(c); strings.Contains(string(got), "after") || !strings.Contains(string(got), "whole") {
				t.Errorf("%s: read %q after %s", client.scheme, got, name)
			}
		}
	}
}

// An empty line is a message, as an empty frame is.
func TestEmptyMessages(t *testing.T) {
	t.Parallel()
	for _, client := range everyClient {
		hub, e := record(nil)
		addr := serve(t, &Server{Hub: hub, TLSConfig: withTLS()})
		c := client.dial(t, addr)
		want := []string{"connect " + client.scheme}
		if w, ok := c.(*wsClient); ok {
			w.send(t, Text, "")
			w.close(t)
			want = append(want, "message ")
		} else {
			client.say(t, c, "\n\na\n\n")
			heard(t, client.scheme, c)
			want = append(want, "message ", "message ", "message a", "message ")
		}
		e.want(t, append(want, "disconnect "+client.scheme)...)
	}
}

// Bytes that look like SSLv2 are raw bytes.
func TestSSLv2IsRaw(t *testing.T) {
	hub, _ := record(echo)
	addr := serve(t, &Server{Hub: hub, TLSConfig: withTLS()})
	const hello = "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80\x02\x00\x80\n"
	if got := talk(t, addr, hello); got != hello {
		t.Errorf("read %q", got)
	}
}

// The versions of WebSocket before RFC 6455 are refused, plain and inside TLS.
func TestOldWebSockets(t *testing.T) {
	const upgrade = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"
	hub, _ := record(echo)
	addr := serve(t, &Server{Hub: hub, TLSConfig: withTLS()})
	for name, head := range map[string]string{
		"hixie-75":  upgrade + "\r\n",
		"hixie-76":  upgrade + "Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\nSec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\n\r\n^n:ds[4U",
		"version 8": upgrade + "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
	} {
		for _, c := range []net.Conn{dial(t, addr), dialTLS(t, addr)} {
			send(t, c, head)
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || resp.StatusCode != 426 || resp.Header.Get("Sec-WebSocket-Version") != "13" {
				t.Errorf("%s: %v, %v, want 426 and the version", name, resp, err)
			}
		}
	}
	c := dialWS(t, "ws://"+addr)
	if err := ws.WriteFrame(c, ws.NewTextFrame([]byte("unmasked"))); err != nil {
		t.Fatal(err)
	}
	c.expectClose(t, ws.StatusProtocolError)
}

// A request of a refused origin gets 403 and a sentence, whatever it asks for. With RequireOrigin
// so does a request without an origin.
func TestRefusedOrigins(t *testing.T) {
	t.Parallel()
	for _, require := range []bool{false, true} {
		hub, e := record(echo)
		addr := serve(t, &Server{
			Hub: hub, TLSConfig: withTLS(), RequireOrigin: require, AllowOrigin: []string{"good.example"},
			RoomOf: func(r *http.Request) (string, bool) { return "room", r.Header.Get("Accept") != "" },
		})
		refused := 0
		for name, head := range map[string]string{
			"POST": "POST / HTTP/1.1\r\nContent-Length: 1\r\n",
			"SSE":  "GET / HTTP/1.1\r\nAccept: text/event-stream\r\n",
			"WS":   "GET / HTTP/1.1\r\n" + upgradeTo,
		} {
			for origin, allowed := range map[string]bool{"http://good.example": true, "http://evil.example": false, "null": false, "": !require} {
				for _, c := range []net.Conn{dial(t, addr), dialTLS(t, addr, "http/1.1")} {
					fields := "Host: localhost\r\n"
					if origin != "" {
						fields += "Origin: " + origin + "\r\n"
					}
					send(t, c, head+fields+"\r\nx")
					resp, err := http.ReadResponse(bufio.NewReader(c), nil)
					switch {
					case err != nil:
						t.Errorf("%s of %q: %v", name, origin, err)
					case allowed:
						if resp.StatusCode >= 300 {
							t.Errorf("%s of %q: %s", name, origin, resp.Status)
						}
					default:
						refused++
						text, err := io.ReadAll(resp.Body)
						if resp.StatusCode != 403 || err != nil || !strings.Contains(strings.TrimSuffix(string(text), "\n"), " ") {
							t.Errorf("%s of %q: %s %q, %v, want 403 and a sentence", name, origin, resp.Status, text, err)
						}
					}
					c.Close()
				}
			}
		}
		eventually(t, "each refusal is told", func() bool { return strings.Count(strings.Join(e.all(), "\n"), "error ") == refused })
	}
}
