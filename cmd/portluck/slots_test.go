package main

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/cmd/portluck/internal/page"
)

// slotServer starts a server of slots. It returns the shared port, the port of --callosum and the
// panel.
func slotServer(t *testing.T) (shared, own string, panel page.Panel) {
	t.Helper()
	addr, _ := startServer(t, "--callosum", "127.0.0.1:0", "--slots-on-silence", "--tls", "off", "--sniff-timeout", "2s")
	resp, err := http.Get("http://" + addr + "/panels")
	// On a busy machine the client may be silent for so long that it gets a slot.
	for late := time.Now().Add(time.Minute); err != nil && time.Now().Before(late); {
		resp, err = http.Get("http://" + addr + "/panels")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var all []page.Panel
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil || len(all) != 1 || all[0].Title != "Slots" {
		t.Fatalf("panels %+v, %v", all, err)
	}
	for _, f := range all[0].Facts {
		if _, port, ok := strings.Cut(f.Value, "localhost:"); ok && f.Name == "address" {
			own = port
		}
	}
	_, shared, _ = strings.Cut(addr, ":")
	if own == "" || shared == "" {
		t.Fatalf("panel %+v", all[0])
	}
	return shared, own, all[0]
}

// getsSlot runs a command until it prints a slot.
func getsSlot(t *testing.T, line string) {
	t.Helper()
	needs(t, line)
	_, out := person(t, line)
	var all []string
	for in := newLines(out, 1000); ; {
		text, err := in.next()
		if all = append(all, text); regexp.MustCompile(`slot \d+|^\d+\r$`).MatchString(text) {
			return
		}
		if err != nil {
			t.Errorf("%s: %q, %v", line, all, err)
			return
		}
	}
}

// The lines of the README's section on slots work as they are, except for the ports.
func TestReadmeSlots(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(readme), "\n### Callosum")
	if !ok {
		t.Fatal("no section")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	lines := regexp.MustCompile(`(?m)^    (.*4040.*|.*8100.*)$`).FindAllStringSubmatch(section, -1)
	if len(lines) != 4 || !strings.Contains(lines[0][1], "serve --callosum localhost:4040 --slots-on-silence") {
		t.Fatalf("lines %q", lines)
	}
	shared, own, _ := slotServer(t)
	replace := strings.NewReplacer("go run ./cmd/portluck", "portluck", "4040", own, "8100", shared)
	for _, line := range lines[1:] {
		t.Run(line[1], func(t *testing.T) { getsSlot(t, replace.Replace(line[1])) })
	}
}

// The commands of the panel work.
func TestPanelOfSlots(t *testing.T) {
	t.Parallel()
	_, _, panel := slotServer(t)
	if len(panel.Commands) != 3 {
		t.Errorf("commands %+v", panel.Commands)
	}
	for _, c := range panel.Commands {
		t.Run(c.What, func(t *testing.T) { getsSlot(t, c.Command) })
	}
}
