package portluck

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/portluck/portluck/testdata/need"
	"golang.org/x/sys/unix"
)

// inNamespace calls f in a network namespace of its own whose loopback lacks the address, in a
// thread that ends with it.
func inNamespace(t *testing.T, lacks string, f func() error) {
	t.Helper()
	ip := need.Namespaces(t)
	ended := make(chan error, 1)
	go func() { // ends with f
		runtime.LockOSThread()
		ended <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			for _, args := range [][]string{{"link", "set", "lo", "up"}, {"addr", "del", lacks, "dev", "lo"}} {
				if out, err := exec.Command(ip, args...).CombinedOutput(); err != nil {
					return fmt.Errorf("ip %v: %w: %s", args, err, out)
				}
			}
			return f()
		}()
	}()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// listenEnv makes this binary one that listens on an address and dials itself.
const listenEnv = "PORTLUCK_LISTEN"

func init() {
	addr, dialled := os.Getenv(listenEnv), ""
	if addr == "" {
		return
	}
	all, err := Listen(addr)
	if err != nil {
		fmt.Print(err)
		os.Exit(1)
	}
	port := all[0].Addr().(*net.TCPAddr).AddrPort().Port()
	for _, to := range []string{"127.0.0.1", "::1"} {
		if _, err := net.Dial("tcp", net.JoinHostPort(to, fmt.Sprint(port))); err == nil {
			dialled += " " + to
		}
	}
	fmt.Print(dialled)
	os.Exit(0)
}

// Package net asks only once which addresses the machine has, so the test runs a process that
// starts without one.
func TestListenInANewProcess(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, lacks, addr, want string }{
		{"IPv6, localhost", "127.0.0.1/8", "localhost:0", " ::1"},
		{"IPv6, all", "127.0.0.1/8", ":0", " ::1"},
		{"IPv6, ::1", "127.0.0.1/8", "[::1]:0", " ::1"},
		{"IPv4, localhost", "::1/128", "localhost:0", " 127.0.0.1"},
		{"IPv4, all", "::1/128", ":0", " 127.0.0.1"},
		{"both, localhost", "", "localhost:0", " 127.0.0.1 ::1"},
		{"both, all", "", ":0", " 127.0.0.1 ::1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			look := func() error {
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), listenEnv+"="+tt.addr)
				out, err := cmd.CombinedOutput()
				if got := string(out); got != tt.want || err != nil {
					t.Errorf("Listen(%q) can be reached at%s, %v, want at%s", tt.addr, got, err, tt.want)
				}
				return nil
			}
			if tt.lacks == "" {
				_ = look()
				return
			}
			inNamespace(t, tt.lacks, look)
		})
	}
}

// On a machine with one IP family, localhost is the one loopback address that exists, and an empty
// host means all addresses that exist.
func TestListenWithOneFamily(t *testing.T) {
	t.Parallel()
	v4, v6 := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")
	for _, tt := range []struct {
		name, lacks, addr string
		want              []netip.Addr // to be dialled
		listeners         int
	}{
		{"IPv6, localhost", "127.0.0.1/8", "localhost:0", []netip.Addr{v6}, 1},
		{"IPv6, a port", "127.0.0.1/8", "localhost:8100", []netip.Addr{v6}, 1},
		{"IPv6, all", "127.0.0.1/8", ":0", []netip.Addr{v6}, 1},
		{"IPv4, localhost", "::1/128", "localhost:0", []netip.Addr{v4}, 1},
		{"IPv4, all", "::1/128", ":0", []netip.Addr{v4}, 1},
		{"both, localhost", "127.0.0.5/8", "localhost:0", []netip.Addr{v4, v6}, 2},
		{"both, all", "127.0.0.5/8", ":0", []netip.Addr{v4, v6}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			look := func() error {
				all, err := Listen(tt.addr)
				if err != nil {
					return err
				}
				if len(all) != tt.listeners {
					t.Errorf("%d listeners, want %d", len(all), tt.listeners)
				}
				port := all[0].Addr().(*net.TCPAddr).AddrPort().Port()
				for _, a := range []netip.Addr{v4, v6} {
					c, err := net.Dial("tcp", netip.AddrPortFrom(a, port).String())
					if ok := err == nil; ok != slices.Contains(tt.want, a) {
						t.Errorf("%v: %v", a, err)
					}
					if err == nil {
						c.Close()
					}
				}
				if _, err := Listen(fmt.Sprintf("localhost:%d", port)); !isAddrInUse(err) {
					t.Errorf("Listen() again = %v, want that the port is taken", err)
				}
				for _, l := range all {
					l.Close()
				}
				return nil
			}
			if len(tt.want) == 2 {
				if err := look(); err != nil {
					t.Error(err)
				}
				return
			}
			inNamespace(t, tt.lacks, look)
		})
	}
}

// A server does not remove a Unix socket that has replaced its own.
func TestServerLeavesAnothersSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := &Server{Hub: echoHub()}
	served := make(chan error, 1)
	l := must(Listen("unix:" + path))[0]
	go func() { served <- s.Serve(l) }()
	c := must(net.Dial("unix", path))
	send(t, c, "{}\n")
	expect(t, c, "{}\n")
	c.Close()
	os.Remove(path)
	other := must(Listen("unix:" + path))[0]
	defer other.Close()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-served
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
