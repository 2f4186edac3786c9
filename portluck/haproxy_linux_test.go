package portluck

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/testdata/need"
	"github.com/rs/zerolog"
)

// Connections from HAProxy with a PROXY header are its clients, over TCP and over a Unix socket.
// Its health checks, with and without a header, are neither clients nor failures.
func TestHAProxy(t *testing.T) {
	haproxy := need.Program(t, "haproxy")
	for _, header := range []string{"send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id", ""} {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(network+" "+header, func(t *testing.T) {
				t.Parallel()
				var lines locked
				logger := zerolog.New(&lines).Level(zerolog.InfoLevel)
				hub, e := record(nil)
				hub.OnMessage = func(m Message, w *Writer, c *Client) { _ = w.Send(TextMessage(c.Remote().String() + " " + m.String())) }
				s := &Server{Hub: hub, Logger: &logger, OnSilence: handlers.Refuse}
				if header != "" {
					s.ProxyFrom = append([]netip.Prefix{ProxyUnix}, fromLoopback...)
				}
				address := "127.0.0.1:0"
				if network == "unix" {
					address = "unix:" + filepath.Join(t.TempDir(), "s")
				}
				l := must(Listen(address))[0]
				serveOn(t, s, l)
				backend := l.Addr().String()
				if network == "unix" {
					backend = "unix@" + backend
				}
				front := must(net.Listen("tcp", "127.0.0.1:0"))
				// a port that is closed could be taken by another test
				inherited := must(front.(*net.TCPListener).File())
				defer inherited.Close()
				config := filepath.Join(t.TempDir(), "haproxy.cfg")
				text := fmt.Sprintf("defaults\n mode tcp\n timeout connect 60s\n timeout client 60s\n timeout server 60s\n"+
					"listen front\n bind fd@3\n unique-id-format %%pid-%%rt\n server s %s check inter 20 %s\n", backend, header)
				if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				var said bytes.Buffer
				cmd := exec.Command(haproxy, "-db", "-f", config)
				cmd.Stdout, cmd.Stderr = &said, &said
				cmd.ExtraFiles = []*os.File{inherited}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					_ = cmd.Process.Kill()
					_ = cmd.Wait()
				})
				front.Close()
				c := must(net.Dial("tcp", front.Addr().String()))
				t.Cleanup(func() { c.Close() })
				send(t, c, "{}\n")
				switch {
				case header != "":
					expect(t, c, c.LocalAddr().String()+" {}\n")
				case network == "unix":
					expect(t, c, "invalid AddrPort {}\n")
				default:
					expect(t, c, "127.0.0.1:")
				}
				// a check over bare TCP resets before the kernel has a connection
				if header != "" || network == "unix" {
					eventually(t, "it has checked", func() bool { return s.Stats().Accepted > 10 })
				}
				if got := e.all(); len(got) != 1 || got[0] != "connect tcp" {
					t.Errorf("events %q", got)
				}
				if st := s.Stats(); st.Failed > 0 || lines.String() != "" {
					t.Errorf("%d failures, log %q", st.Failed, lines.String())
				}
			})
		}
	}
}
