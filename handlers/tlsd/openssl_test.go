package tlsd

import (
	"bytes"
	"context"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/testdata/need"
)

// openssl runs `openssl s_client` against h, sends it input, and returns its output.
func openssl(t *testing.T, h handlers.Handler, p *port, input string, args ...string) string {
	t.Helper()
	path := need.Program(t, "openssl")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p.wg.Go(func() { // ends with the only connection, or when l is closed
		if nc, err := l.Accept(); err == nil {
			h.Serve(newConn(nc), p)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append([]string{"s_client", "-connect", l.Addr().String()}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run() // it exits with 1 after an alert
	return out.String()
}

func TestOpenSSL(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want string // in the output of openssl
		ok   bool   // the handler was reached
	}{
		{"TLS 1.3", []string{"-tls1_3", "-alpn", "x"}, "New, TLSv1.3", true},
		{"TLS 1.2", []string{"-tls1_2", "-alpn", "x"}, "New, TLSv1.2", true},
		{"ALPN", []string{"-alpn", "ftp,x"}, "ALPN protocol: x", true},
		{"no overlap", []string{"-alpn", "ftp"}, "alert no application protocol", false},
		{"small records", []string{"-alpn", "x", "-max_send_frag", "512", "-split_send_frag", "512"}, "ALPN protocol: x", true},
		{"name", []string{"-alpn", "x", "-servername", "localhost"}, "ALPN protocol: x", true},
		{"unknown name", []string{"-alpn", "x", "-servername", "evil.test"}, "unrecognized name", false},
		{"TLS 1.1", []string{"-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"}, "alert protocol version", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			inner, p := newEcho(), newPort()
			h := &Handler{Config: newConfig(t), ALPN: map[string]handlers.Handler{"x": inner}, StrictSNI: true}
			got := openssl(t, h, p, "hello\nQ\n", test.args...)
			if !strings.Contains(got, test.want) {
				t.Errorf("openssl %q prints no %q but:\n%s", test.args, test.want, got)
			}
			if err := p.err(t); (err == nil) != test.ok || len(inner.served) == 1 != test.ok {
				t.Errorf("Fail(%v), served %d, want served %t", err, len(inner.served), test.ok)
			}
		})
	}
}

// A raw client inside TLS offers no protocol, so its first bytes decide.
func TestOpenSSLWithoutALPN(t *testing.T) {
	need.Program(t, "openssl") // before a goroutine waits for it
	p := newPort()
	done := make(chan struct{})
	go func() { // ends with the connection
		defer close(done)
		newEcho().Serve(<-p.routed, p)
	}()
	got := openssl(t, &Handler{Config: newConfig(t)}, p, "hello\n", "-noservername")
	<-done
	if !strings.Contains(got, "No ALPN negotiated") {
		t.Errorf("openssl prints:\n%s", got)
	}
}
