package mesh

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portluck/portluck/testdata/need"
)

// network is a set of hosts in network namespaces, each with an interface eth0 that is connected to
// a switch.
type network struct {
	t     *testing.T
	ports string // the namespace of the switch
	hosts []string
}

// newNetwork makes n hosts. With ready their interfaces are up.
func newNetwork(t *testing.T, n int, ready bool) *network {
	t.Helper()
	need.Namespaces(t)
	prefix := fmt.Sprintf("mesh%d", os.Getpid()%100000)
	w := &network{t: t, ports: prefix + "-sw"}
	w.run("ip", "netns", "add", w.ports)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", w.ports).Run() })
	for _, br := range []string{"br0", "br1"} {
		w.run("ip", "-n", w.ports, "link", "add", br, "type", "bridge", "mcast_snooping", "0")
		w.run("ip", "-n", w.ports, "link", "set", br, "up")
	}
	for i := range n {
		host, port := fmt.Sprintf("%s-%d", prefix, i), fmt.Sprintf("p%d", i)
		w.run("ip", "netns", "add", host)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", host).Run() })
		w.hosts = append(w.hosts, host)
		w.run("ip", "-n", host, "link", "set", "lo", "up")
		w.run("ip", "link", "add", port, "netns", w.ports, "type", "veth", "peer", "name", "eth0", "netns", host)
		w.plug(i, "br0")
		w.run("ip", "-n", w.ports, "link", "set", port, "up")
		if ready {
			w.up(i)
		}
	}
	return w
}

func (w *network) run(command ...string) {
	w.t.Helper()
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		w.t.Fatalf("%s: %v: %s", strings.Join(command, " "), err, out)
	}
}

// up gives a host its address and sets its interface up.
func (w *network) up(i int) {
	w.t.Helper()
	w.run("ip", "-n", w.hosts[i], "addr", "add", fmt.Sprintf("10.77.0.%d/24", i+1), "dev", "eth0")
	w.run("ip", "-n", w.hosts[i], "link", "set", "eth0", "up")
}

// plug connects a host to a switch.
func (w *network) plug(i int, bridge string) {
	w.t.Helper()
	w.run("ip", "-n", w.ports, "link", "set", fmt.Sprintf("p%d", i), "master", bridge)
}

// on returns the command line that runs command on a host.
func (w *network) on(i int, command ...string) []string {
	return append([]string{"ip", "netns", "exec", w.hosts[i]}, command...)
}

func (w *network) node(i int, s childSpec) *child {
	w.t.Helper()
	return startChild(w.t, s, w.on(i)...)
}

// Five hosts form a full mesh, even if one comes late. The mesh falls apart with the network and
// grows together again.
func TestHosts(t *testing.T) {
	w := newNetwork(t, 5, false)
	var all []*child
	for i := range 5 {
		if i < 4 {
			w.up(i)
		}
		all = append(all, w.node(i, childSpec{Name: "hosts", ID: fmt.Sprintf("%02X", 0xA0+i)}))
	}
	wantChildren(t, []int{3, 3, 3, 3, 0}, all...)
	w.up(4) // a network that comes up later
	wantChildren(t, []int{4, 4, 4, 4, 4}, all...)
	w.plug(3, "br1")
	w.plug(4, "br1")
	wantChildren(t, []int{2, 2, 2, 1, 1}, all...)
	w.plug(3, "br0")
	w.plug(4, "br0")
	wantChildren(t, []int{4, 4, 4, 4, 4}, all...)
	all[2].stop()
	wantChildren(t, []int{3, 3, 3, 3}, all[0], all[1], all[3], all[4])
}

// Hosts without IPv4 find each other by their link-local addresses. A host may be on two networks.
func TestHostsIPv6(t *testing.T) {
	w := newNetwork(t, 3, false)
	for i := range 3 {
		w.run("ip", "-n", w.hosts[i], "link", "set", "eth0", "up")
	}
	w.plug(2, "br1")
	w.run("ip", "link", "add", "q1", "netns", w.ports, "type", "veth", "peer", "name", "eth1", "netns", w.hosts[1])
	w.run("ip", "-n", w.ports, "link", "set", "q1", "master", "br1", "up")
	w.run("ip", "-n", w.hosts[1], "link", "set", "eth1", "up")
	var all []*child
	for i := range 3 {
		all = append(all, w.node(i, childSpec{Name: "hosts6", ID: fmt.Sprintf("%02X", 0xA0+i)}))
	}
	wantChildren(t, []int{1, 2, 1}, all...)
}

// A node that listens on one address of its host is found there.
func TestHostsOneAddress(t *testing.T) {
	w := newNetwork(t, 2, true)
	a := w.node(0, childSpec{Name: "hosts1", ID: "0B", Listen: "10.77.0.1"})
	b := w.node(1, childSpec{Name: "hosts1", ID: "0A"})
	wantChildren(t, []int{1, 1}, a, b)
}

// Avahi, on the node's host and on another one, sees the node, and the node sees what avahi
// publishes.
func TestAvahi(t *testing.T) {
	for _, name := range []string{"avahi-daemon", "avahi-browse", "avahi-publish-service", "dbus-daemon"} {
		need.Program(t, name)
	}
	w := newNetwork(t, 2, true)
	node := w.node(0, childSpec{Name: "avahi", ID: "0A"})
	env := []string{w.avahi(0), w.avahi(1)}
	for i := range 2 {
		want := `=;eth0;IPv4;0A;_avahi._tcp;local;mesh-`
		eventually(t, fmt.Sprintf("avahi on host %d sees the node", i), func() bool {
			out, _ := w.browse(i, env[i]) // it may not be ready
			for line := range strings.Lines(out) {
				if strings.HasPrefix(line, want) && strings.HasSuffix(line, fmt.Sprintf(`;10.77.0.1;%d;`+"\n", node.get(&node.port))) {
					return true
				}
			}
			return false
		})
	}
	silent := w.node(1, childSpec{Name: "avahi", ID: "0B", Silent: true})
	publish := w.on(1, "env", env[1], "avahi-publish-service", "0B", "_avahi._tcp", fmt.Sprint(silent.get(&silent.port)))
	w.background(publish...)
	wantChildren(t, []int{1, 1}, node, silent)
	node.stop()
	eventually(t, "avahi has heard the goodbye", func() bool {
		out, err := w.browse(1, env[1])
		return err == nil && strings.Contains(out, ";0B;") && !strings.Contains(out, ";0A;")
	})
}

// browse returns what avahi knows on a host.
func (w *network) browse(i int, env string) (string, error) {
	args := append([]string{"10"}, w.on(i, "env", env, "avahi-browse", "-p", "-r", "-t", "_avahi._tcp")...)
	out, err := exec.Command("timeout", args...).Output()
	return string(out), err
}

// background runs a command until the end of the test.
func (w *network) background(command ...string) {
	w.t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = testLog{w.t}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = cmd.Process.Kill() // ip netns exec has become the command, so this kills it
		_ = cmd.Wait()
	})
}

// avahi starts avahi and a D-Bus for it on a host. It returns the environment variable by which
// programs find them.
func (w *network) avahi(i int) (env string) {
	w.t.Helper()
	dir := w.t.TempDir()
	bus := filepath.Join(dir, "bus")
	busConf, avahiConf := filepath.Join(dir, "bus.conf"), filepath.Join(dir, "avahi.conf")
	files := map[string]string{
		busConf: `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>unix:path=` + bus + `</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>`,
		avahiConf: fmt.Sprintf("[server]\nhost-name=host%d\nuse-ipv4=yes\nuse-ipv6=yes\n[wide-area]\nenable-wide-area=no\n", i),
	}
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	env = "DBUS_SYSTEM_BUS_ADDRESS=unix:path=" + bus
	w.background(w.on(i, "dbus-daemon", "--nofork", "--config-file="+busConf)...)
	eventually(w.t, "the bus is there", func() bool {
		_, err := os.Stat(bus)
		return err == nil
	})
	// ip netns exec makes a mount namespace, so /run, where the pid file is, is this daemon's own.
	daemon := "mount -t tmpfs tmpfs /run && exec env " + env +
		" avahi-daemon --no-drop-root --no-chroot --no-rlimits --no-proc-title -f " + avahiConf
	w.background(w.on(i, "sh", "-c", daemon)...)
	return env
}
