package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/portluck/portluck/testdata/need"
)

// Processes that start together in a new config directory share one CA.
func TestStartsAtOnceShareTheCA(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "config")
	addrs := make([]string, 4)
	var wg sync.WaitGroup
	for i := range addrs {
		wg.Go(func() { addrs[i], _ = startServer(t, "--config-dir", dir) })
	}
	wg.Wait()
	pem, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	for _, addr := range addrs {
		c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots})
		if err != nil {
			t.Errorf("%s: %v", addr, err)
			continue
		}
		c.Close()
	}
}

// Without --listen the server takes the next port if 8100 is not free. The notice and the address
// have that port.
func TestTakenDefaultPort(t *testing.T) {
	for try := 1; ; try++ {
		l, err := net.Listen("tcp", "127.0.0.1:8100")
		port, notices := startOnDefaultPort(t)
		if err == nil {
			l.Close()
		} else if port == "8100" && try < 100 {
			continue // another program had the port, and has released it
		}
		if want := "portluck: port 8100 is taken, using " + port + "\n"; notices != want {
			t.Errorf("the notice is %q, want %q", notices, want)
		}
		return
	}
}

// startOnDefaultPort starts a server without --listen, and ends it. It returns the port and the
// notice of the server.
func startOnDefaultPort(t *testing.T) (port, notice string) {
	t.Helper()
	cmd := command(t, "--tls", "off")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var notices strings.Builder
	cmd.Stderr = &notices
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := newLines(out, 1000).next()
	port, ok := strings.CutPrefix(line, "listening on 127.0.0.1:")
	if err != nil || !ok {
		t.Errorf("it prints %q, %v", line, err)
	}
	if c, err := net.Dial("tcp", "127.0.0.1:"+port); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	cmd.Process.Kill()
	cmd.Wait()
	return port, notices.String()
}

// listenUDPAlone listens on a UDP port whose TCP port is free and stays free: the system does not
// choose ports as low as this one.
func listenUDPAlone(t *testing.T) net.PacketConn {
	t.Helper()
	for port := 20000; port < 30000; port++ {
		at := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		pc, err := net.ListenPacket("udp", at) // keeps other runs of this test from the TCP port
		if err != nil {
			continue
		}
		if l, err := net.Listen("tcp", at); err == nil {
			l.Close()
			t.Cleanup(func() { pc.Close() })
			return pc
		}
		pc.Close()
	}
	t.Fatal("no port between 20000 and 29999 is free for UDP and TCP")
	return nil
}

// The error for a taken port has a command that shows which process has it, as a listener or as a
// client.
func TestTakenPortSaysByWhom(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	pc := listenUDPAlone(t)
	tcp, udp := l.Addr().String(), pc.LocalAddr().String()
	for _, flags := range [][]string{
		{"--listen", tcp},
		{"--listen", c.LocalAddr().String()},
		{"--listen", "127.0.0.1:0", "--debug", tcp},
		{"--listen", "127.0.0.1:0", "--callosum", tcp},
		{"--listen", "127.0.0.1:0", "--echo-stream", tcp},
		{"--listen", udp, "--udp"},
		{"mesh", "name", "--listen", tcp},
	} {
		cmd := command(t, flags...)
		if flags[0] != "mesh" {
			cmd = command(t, append([]string{"serve", "--tls", "off"}, flags...)...)
		}
		out, err := cmd.CombinedOutput()
		said := string(out)
		if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(said, "address already in use (--") {
			t.Errorf("%q: %v, %s", flags, err, said)
			continue
		}
		_, find, _ := strings.Cut(said, "`")
		find, _, _ = strings.Cut(find, "`")
		if strings.Count(said, "\n") != 1 || !strings.Contains(find, ":") {
			t.Errorf("%q: it says %s", flags, said)
			continue
		}
		if runtime.GOOS != "linux" {
			continue
		}
		need.Program(t, "ss")
		found, err := exec.Command("sh", "-c", find).CombinedOutput()
		if err != nil || !strings.Contains(string(found), fmt.Sprintf("pid=%d,", os.Getpid())) {
			t.Errorf("%q: %s shows %s, %v", flags, find, found, err)
		}
	}
}
