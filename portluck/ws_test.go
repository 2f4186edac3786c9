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
