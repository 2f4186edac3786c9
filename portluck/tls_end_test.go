package portluck

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/portluck/portluck/handlers/websocket"
)

// endings are the ways in which a client can end TLS. None of them closes the connection itself.
var endings = []struct {
	name string
	good bool
	end  func(c *tls.Conn, nc *net.TCPConn)
}{
	{"close_notify and FIN", true, func(c *tls.Conn, nc *net.TCPConn) { c.CloseWrite(); nc.CloseWrite() }},
	{"close_notify", true, func(c *tls.Conn, _ *net.TCPConn) { c.CloseWrite() }},
	{"FIN", false, func(_ *tls.Conn, nc *net.TCPConn) { nc.CloseWrite() }},
	{"half a record and FIN", false, func(_ *tls.Conn, nc *net.TCPConn) { io.WriteString(nc, "\x17\x03\x03\x00\x20half"); nc.CloseWrite() }},
	{"RST", false, func(_ *tls.Conn, nc *net.TCPConn) { nc.SetLinger(0); nc.Close() }},
}

// The last line of a raw client may lack its line end only if a close_notify follows. Otherwise an
// attacker on the path could cut "pay 1000" to "pay 100". A WebSocket ends with its close frame,
// and otherwise abnormally.
func TestTLSEndings(t *testing.T) {
	upgrade := "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	frame := string(must(ws.CompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte("whole"))))))
	clients := []struct {
		name, head, data string
		whole            []string
		tail             string // a message only if the end is clean
		good, bad        error
	}{
		{"raw", "", "whole\npay 100", []string{"whole"}, "pay 100", nil, io.ErrUnexpectedEOF},
		{"raw, all unfinished", "", "pay 100", nil, "pay 100", nil, io.ErrUnexpectedEOF},
		{"raw, nothing unfinished", "", "whole\n", []string{"whole"}, "", nil, io.ErrUnexpectedEOF},
		{"WebSocket", upgrade, frame + frame[:5], []string{"whole"}, "", websocket.ErrAbnormal, websocket.ErrAbnormal},
	}
	for _, goroutines := range []bool{false, true} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			type ended struct {
				seen []string
				err  error
			}
			ends := make(chan ended, 1)
			var seen []string
			h := &Hub{
				OnMessage: func(m Message, _ *Writer, _ *Client) { seen = append(seen, m.String()) },
				OnDisconnect: func(_ *Client, err error) {
					e := ended{seen, err}
					seen = nil // before the next client comes
					ends <- e
				},
				OnError: func(_ *Info, err error) { ends <- ended{nil, err} },
			}
			addr := serve(t, &Server{Hub: h, TLSConfig: withTLS(), Goroutines: goroutines, SniffTimeout: time.Minute})
			for _, client := range clients {
				for _, end := range endings {
					t.Run(fmt.Sprintf("goroutines %t, %s, %s, %s", goroutines, tls.VersionName(version), client.name, end.name), func(t *testing.T) {
						nc := dial(t, addr)
						defer nc.Close()
						c := tls.Client(nc, &tls.Config{InsecureSkipVerify: true, MaxVersion: version})
						if client.head != "" {
							send(t, c, client.head)
							if resp := must(http.ReadResponse(bufio.NewReader(c), nil)); resp.StatusCode != http.StatusSwitchingProtocols {
								t.Fatal(resp.Status)
							}
						}
						send(t, c, client.data)
						end.end(c, nc)
						want, wantErr := client.whole, client.bad
						if end.good {
							if wantErr = client.good; client.tail != "" {
								want = append(slices.Clip(want), client.tail)
							}
						}
						if end.name == "RST" {
							wantErr = syscall.ECONNRESET
						}
						select {
						case got := <-ends:
							if !slices.Equal(got.seen, want) || !errors.Is(got.err, wantErr) {
								t.Errorf("messages %q and %v, want %q and %v", got.seen, got.err, want, wantErr)
							}
						case <-time.After(time.Minute):
							t.Error("the client is not gone")
						}
					})
				}
			}
		}
	}
}
