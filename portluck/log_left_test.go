package portluck

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

// A client that leaves in the middle of a TLS handshake, in whatever way, is logged at level debug.
// One that breaks the protocol is logged at level info.
func TestEarlyEndIsForDebugging(t *testing.T) {
	t.Parallel()
	hello := firstRecord(t)
	leave := func(said string, reset bool) func(t *testing.T, c *net.TCPConn) {
		return func(t *testing.T, c *net.TCPConn) {
			send(t, c, said)
			if reset {
				_, _ = c.Read(make([]byte, 1)) // it has answered
				_ = c.SetLinger(0)
			}
			c.Close()
		}
	}
	for name, tt := range map[string]struct {
		client func(t *testing.T, c *net.TCPConn)
		want   string
	}{
		"after the ClientHello":     {leave(hello, false), "debug"},
		"reset after the answer":    {leave(hello, true), "debug"},
		"inside the ClientHello":    {leave(hello[:len(hello)/2], false), "debug"},
		"inside the record's head":  {leave(hello[:4], false), "debug"},
		"after a word of two bytes": {leave("\x16\x03", false), "debug"},
		"with an alert": {func(_ *testing.T, c *net.TCPConn) {
			// the client does not know the authority of the certificate
			_ = tls.Client(c, &tls.Config{ServerName: "localhost"}).Handshake()
			c.Close()
		}, "debug"},
		"nonsense": {leave("\x16\x03\x01\x00\x05nonsense", false), "info"},
		"no protocol": {func(_ *testing.T, c *net.TCPConn) {
			_ = tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"nobody's"}}).Handshake()
			c.Close()
		}, "info"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := &logBuffer{}
			logger := zerolog.New(out)
			s := &Server{TLSConfig: withTLS(), Logger: &logger}
			addr := serve(t, s)
			tt.client(t, dial(t, addr))
			eventually(t, "it has failed", func() bool { return strings.Contains(out.String(), "client failed") })
			for _, l := range linesOf(t, out.String()) {
				if l.Message == "client failed" && l.Level != tt.want {
					t.Errorf("at %s: %s", l.Level, out)
				}
			}
		})
	}
}

// firstRecord is a ClientHello.
func firstRecord(t *testing.T) string {
	t.Helper()
	client, server := net.Pipe()
	defer client.Close()
	// ends with the pipe
	go func() { _ = tls.Client(client, &tls.Config{InsecureSkipVerify: true}).Handshake() }()
	buf := make([]byte, 4<<10)
	n, err := server.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}
