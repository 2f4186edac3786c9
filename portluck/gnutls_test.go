package portluck

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/testdata/need"
)

// gnutls starts gnutls-cli. Bytes written to in go through TLS, and closing in ends TLS in good
// order; kill ends the process without that. Bytes that come out of TLS can be read.
func gnutls(t *testing.T, addr string, args ...string) (in io.WriteCloser, out *bufio.Reader, kill func()) {
	t.Helper()
	host, port, _ := net.SplitHostPort(addr)
	args = append(args, "--insecure", "--no-ca-verification", "--logfile=/dev/null", "--port", port, host)
	cmd := exec.CommandContext(t.Context(), need.Program(t, "gnutls-cli"), args...)
	in, out = must(cmd.StdinPipe()), bufio.NewReader(must(cmd.StdoutPipe()))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() {
		watchdog.Stop()
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return in, out, func() { _ = cmd.Process.Kill() }
}

// GnuTLS, which shares no code with Go's TLS or OpenSSL, completes the handshake with each of its
// priorities. Inside TLS the port tells raw clients from HTTP clients, and a last line that ends
// with a close_notify from half a line.
func TestGnuTLS(t *testing.T) {
	need.Program(t, "gnutls-cli")
	priorities := []struct {
		name, priority string
		version        uint16 // 0 if the handshake must fail
	}{
		{"default", "NORMAL", tls.VersionTLS13},
		{"TLS 1.3", "NORMAL:-VERS-ALL:+VERS-TLS1.3", tls.VersionTLS13},
		{"TLS 1.2", "NORMAL:-VERS-ALL:+VERS-TLS1.2", tls.VersionTLS12},
		{"ChaCha20", "NORMAL:-CIPHER-ALL:+CHACHA20-POLY1305", tls.VersionTLS13},
		// HelloRetryRequest
		{"another group first", "NORMAL:-GROUP-ALL:+GROUP-FFDHE2048:+GROUP-SECP384R1", tls.VersionTLS13},
		{"TLS 1.1", "LEGACY:-VERS-ALL:+VERS-TLS1.1", 0},
	}
	clients := []struct {
		name, says, answer string
		args               []string
		kill               bool
		want               []string
	}{
		{"raw", "hello\npay 100", "hello\n", nil, false, []string{"message hello", "message pay 100", "disconnect <nil>"}},
		{"raw, unclean", "hello\npay 100", "hello\n", nil, true, []string{"message hello", "disconnect unexpected EOF"}},
		{"HTTP", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\nhello\n", "HTTP/1.1 200 OK\r\n", nil, false, []string{"message hello", "disconnect <nil>"}},
		{"HTTP with ALPN", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\nhello\n", "HTTP/1.1 200 OK\r\n", []string{"--alpn", "http/1.1"}, true, []string{"message hello", "disconnect <nil>"}},
	}
	for _, p := range priorities {
		for _, c := range clients {
			t.Run(p.name+", "+c.name, func(t *testing.T) {
				t.Parallel()
				told := make(chan string, 16)
				var version uint16
				addr := serve(t, &Server{TLSConfig: withTLS(), SniffTimeout: time.Minute, Hub: &Hub{
					OnConnect:    func(_ *Writer, c *Client) { version = c.TLS().Version },
					OnMessage:    func(m Message, w *Writer, _ *Client) { told <- "message " + m.String(); echo(m, w) },
					OnDisconnect: func(_ *Client, err error) { told <- "disconnect " + errorText(err) },
					OnError:      func(*Info, error) { told <- "error" },
				}})
				in, out, kill := gnutls(t, addr, append(c.args, "--priority", p.priority)...)
				_, err := io.WriteString(in, c.says)
				want := c.want
				if p.version == 0 {
					want = []string{"error"}
				} else if err != nil {
					t.Fatal(err)
				} else if strings.HasPrefix(c.answer, "HTTP/") {
					response, err := http.ReadResponse(out, nil)
					if err != nil {
						t.Fatal(err)
					}
					if body, err := io.ReadAll(response.Body); string(body) != "hello\n" || err != nil {
						t.Errorf("the answer is %q, %v", body, err)
					}
				} else if line, err := out.ReadString('\n'); line != c.answer {
					t.Fatalf("the answer is %q, %v", line, err)
				}
				if c.kill && p.version != 0 {
					kill()
				} else {
					_ = in.Close()
				}
				for _, w := range want {
					select {
					case got := <-told:
						if got != w {
							t.Errorf("event %q, want %q", got, w)
						}
					case <-time.After(time.Minute):
						t.Fatalf("no event %q", w)
					}
				}
				if version != p.version {
					t.Errorf("%s, want %s", tls.VersionName(version), tls.VersionName(p.version))
				}
			})
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return "<nil>"
	}
	return err.Error()
}
