package main

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/portluck/portluck/cmd/portluck/internal/page"
)

// udpPanel returns the UDP panel of the page of the server at addr.
func udpPanel(t *testing.T, addr string) page.Panel {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/panels")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var all []page.Panel
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if p.Title == "UDP" {
			return p
		}
	}
	t.Fatalf("no panel of UDP in %+v", all)
	return page.Panel{}
}

// The commands of the panel, which are printed at the start too, work. The counters of the panel
// count.
func TestUDPLines(t *testing.T) {
	t.Parallel()
	addr, _ := startServer(t, "--udp")
	for _, line := range udpPanel(t, addr).Commands {
		t.Run(line.What, func(t *testing.T) {
			needs(t, line.Command)
			hears(t, line.Command)
		})
	}
	for _, fact := range udpPanel(t, addr).Facts {
		switch fact.Name {
		case "address":
			if fact.Value != addr {
				t.Errorf("address %s, want %s", fact.Value, addr)
			}
		case "datagrams received":
			if strings.HasPrefix(fact.Value, "0 ") {
				t.Errorf("%s %s", fact.Value, fact.Name)
			}
		}
	}
}

// The README's lines for UDP work as they are, except for the port.
func TestReadmeUDP(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	addr, _ := startServer(t, "--udp")
	_, port, _ := net.SplitHostPort(addr)
	lines := regexp.MustCompile("`((?:nc -u|go run ./cmd/portluck chat udp)[^`]*)`").FindAllStringSubmatch(string(readme), -1)
	if len(lines) != 2 {
		t.Fatalf("%d lines for UDP, want 2", len(lines))
	}
	replace := strings.NewReplacer("8100", port, "go run ./cmd/portluck", "portluck")
	for _, line := range lines {
		t.Run(line[1], func(t *testing.T) {
			command := replace.Replace(line[1])
			needs(t, command)
			hears(t, command)
		})
	}
}

// The error for a port that is taken over UDP says what to do.
func TestUDPPortTaken(t *testing.T) {
	t.Parallel()
	for try := 1; ; try++ {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		cmd := command(t, "serve", "--udp", "--tls", "off", "--listen", pc.LocalAddr().String())
		out, err := cmd.CombinedOutput()
		pc.Close()
		if strings.Contains(string(out), "listen tcp") && try < 10 {
			continue // another program has the port over TCP
		}
		if err == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "choose a port that is free over TCP and UDP with --listen") {
			t.Errorf("%s, %v", out, err)
		}
		return
	}
}
