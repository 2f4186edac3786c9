package portluck

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// wsClient is a WebSocket client.
type wsClient struct {
	net.Conn
	r io.Reader
}

// dialWS connects to a ws or wss URL until the test ends.
func dialWS(t testing.TB, url string) *wsClient {
	t.Helper()
	d := ws.Dialer{TLSConfig: &tls.Config{InsecureSkipVerify: true}, Timeout: patience}
	c, br, _, err := d.Dial(context.Background(), url)
	if err != nil {
		t.Fatalf("dial %s: %v", url, err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	if br != nil {
		return &wsClient{c, br}
	}
	return &wsClient{c, c}
}

func (c *wsClient) Read(p []byte) (int, error) { return c.r.Read(p) }

func (c *wsClient) send(t testing.TB, k Kind, s string) {
	t.Helper()
	op := ws.OpText
	if k == Binary {
		op = ws.OpBinary
	}
	if err := wsutil.WriteClientMessage(c, op, []byte(s)); err != nil {
		t.Fatal(err)
	}
}

func (c *wsClient) expect(t testing.TB, k Kind, want string) {
	t.Helper()
	got, op, err := wsutil.ReadServerData(c)
	kind := Text
	if op == ws.OpBinary {
		kind = Binary
	}
	if err != nil || string(got) != want || kind != k {
		t.Fatalf("read %v %q, %v, want %v %q", kind, got, err, k, want)
	}
}

// close says goodbye and waits for the answer.
func (c *wsClient) close(t testing.TB) {
	t.Helper()
	if err := ws.WriteFrame(c, ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, "")))); err != nil {
		t.Fatal(err)
	}
	c.expectClose(t, ws.StatusNormalClosure)
}

// expectClose reads a close frame of this code.
func (c *wsClient) expectClose(t testing.TB, code ws.StatusCode) {
	t.Helper()
	h, err := ws.ReadHeader(c)
	body := make([]byte, h.Length)
	if err == nil {
		_, err = io.ReadFull(c, body)
	}
	if err != nil || h.OpCode != ws.OpClose {
		t.Fatalf("read %v, %v, want a close frame", h, err)
	}
	if got, reason := ws.ParseCloseFrameData(body); got != code {
		t.Errorf("close %d %q, want %d", got, strings.TrimSpace(reason), code)
	}
}

// Protocols apply on every way to a WebSocket: in the clear and inside TLS, with a handshake that
// net/http reads and with one that the codec reads.
func TestProtocols(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		ours, offered []string
		want          string
	}{
		{nil, []string{"chat"}, ""},
		{[]string{"v2", "v1"}, []string{"v0", "v1", "v2"}, "v2"},
		{[]string{"v2", "v1"}, []string{"v0"}, ""},
		{[]string{"v2", "v1"}, nil, ""},
	} {
		addr := serve(t, &Server{Protocols: tt.ours, TLSConfig: withTLS()})
		d := ws.Dialer{Protocols: tt.offered, Timeout: patience}
		for name, alpn := range map[string][]string{"ws": nil, "wss": nil, "wss with ALPN": {"http/1.1"}} {
			d.TLSConfig = &tls.Config{InsecureSkipVerify: true, NextProtos: alpn}
			scheme, _, _ := strings.Cut(name, " ")
			c, _, hs, err := d.Dial(context.Background(), scheme+"://"+addr+"/")
			if err != nil || hs.Protocol != tt.want {
				t.Errorf("%s: %q of %q: %q, %v, want %q", name, tt.offered, tt.ours, hs.Protocol, err, tt.want)
			}
			if err == nil {
				c.Close()
			}
		}
	}
}
