package udp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/testdata/need"
)

// In a namespace the test runs its own binary again: as a server, or as a client that asks
// addresses.
const (
	nsServerEnv = "PORTLUCK_UDP_NS_SERVER"
	nsClientEnv = "PORTLUCK_UDP_NS_CLIENT"
)

func init() {
	err := error(nil)
	switch asks := os.Getenv(nsClientEnv); {
	case os.Getenv(nsServerEnv) != "":
		err = nsServer()
	case asks != "":
		for addr := range strings.FieldsSeq(asks) {
			if err == nil {
				err = nsAsk(addr)
			}
		}
	default:
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// nsServer echoes datagrams until its standard input ends.
func nsServer() error {
	pc, err := net.ListenPacket("udp", ":8100")
	if err != nil {
		return err
	}
	all := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	s := &Server{Trusted: all}
	done := make(chan error, 1)
	go func() { done <- s.ServePacket(pc, &echoPort{}) }() // ends with Shutdown
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	defer func() { <-done }()
	return s.Shutdown(context.Background())
}

// nsAsk sends a datagram to addr, and expects the answer from there; if addr is a broadcast
// address, from any.
func nsAsk(addr string) error {
	to, broadcast := strings.CutSuffix(addr, "/broadcast")
	remote, err := net.ResolveUDPAddr("udp", to)
	if err != nil {
		return err
	}
	pc, err := net.ListenPacket("udp", ":0")
	if err != nil {
		return err
	}
	defer pc.Close()
	_ = pc.SetDeadline(time.Now().Add(generous))
	if _, err := pc.WriteTo([]byte("hello"), remote); err != nil {
		return err
	}
	buf := make([]byte, 100)
	n, from, err := pc.ReadFrom(buf)
	if err != nil {
		return fmt.Errorf("%s: %w", addr, err)
	}
	if got := addrPort(from); string(buf[:n]) != "hello" || !broadcast && got != addrPort(remote) {
		return fmt.Errorf("%s: %q from %v", addr, buf[:n], got)
	}
	return nil
}

// A host with several addresses, of both families, answers from the one that was asked. Server and
// client are in namespaces of their own. A broadcast is answered from any address that has a route.
func TestSeveralAddresses(t *testing.T) {
	need.Namespaces(t)
	a, b := fmt.Sprintf("udp%d-a", os.Getpid()), fmt.Sprintf("udp%d-b", os.Getpid())
	t.Cleanup(func() {
		for _, ns := range []string{a, b} {
			_ = exec.Command("ip", "netns", "del", ns).Run()
		}
	})
	for _, line := range []string{
		"netns add A", "netns add B", "link add va netns A type veth peer name vb netns B",
		// Without it Go regards the host as one without IPv6.
		"-n A link set lo up", "-n B link set lo up",
		"-n A addr add 10.99.0.1/24 dev va", "-n A addr add 10.99.0.9/24 dev va", "-n A addr add 10.98.0.1/32 dev va",
		"-n A addr add fd99::1/64 dev va nodad", "-n A addr add fd99::9/64 dev va nodad",
		"-n B addr add 10.99.0.2/24 dev vb", "-n B addr add fd99::2/64 dev vb nodad",
		"-n A link set va addrgenmode none", "-n B link set vb addrgenmode none",
		"-n A addr add fe80::1/64 dev va nodad", "-n B addr add fe80::2/64 dev vb nodad",
		"-n A link set va up", "-n B link set vb up", "-n B route add 10.98.0.1/32 via 10.99.0.1",
	} {
		line = strings.NewReplacer("A", a, "B", b).Replace(line)
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v, %s", line, err, out)
		}
	}
	server := exec.Command("ip", "netns", "exec", a, os.Args[0], "-test.run=^$")
	server.Env, server.Stderr = append(os.Environ(), nsServerEnv+"=1"), os.Stderr
	in, out := pipes(t, server)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Errorf("the server says %q, %v", line, err)
	}
	for _, addr := range []string{
		"10.99.0.1:8100", "10.99.0.9:8100", "10.98.0.1:8100", "[fd99::1]:8100", "[fd99::9]:8100", "[fe80::1%vb]:8100",
		"10.99.0.255:8100/broadcast",
	} {
		client := exec.Command("ip", "netns", "exec", b, os.Args[0], "-test.run=^$")
		client.Env = append(os.Environ(), nsClientEnv+"="+addr)
		if out, err := client.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
	in.Close()
	if err := server.Wait(); err != nil {
		t.Errorf("the server: %v", err)
	}
}

func pipes(t *testing.T, cmd *exec.Cmd) (in io.WriteCloser, out io.Reader) {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	if out, err = cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	return in, out
}
