package main

import (
	"strings"
	"testing"
)

// What a server uses is told by Linux only.
func TestIdleMemory(t *testing.T) {
	s := startServer(t, "tcp", &testServer{})
	r, err := load(t, "idle", s.addr, "--conns", "8", "--time", "10ms", "--settle", "10ms", "--burst", "10", "--pid", pid())
	if err != nil {
		t.Error(err)
	}
	var at []string
	for _, p := range r["points"].([]any) {
		p := p.(map[string]any)
		at = append(at, p["at"].(string))
		if p["rss"].(float64) < 1<<20 || p["threads"].(float64) < 1 {
			t.Errorf("point %v", p)
		}
	}
	if got, want := strings.Join(at, " "), "start from conns held burst settled"; got != want {
		t.Errorf("points %q, want %q", got, want)
	}
	for _, name := range []string{"per_conn", "burst_per_conn", "settled_per_conn", "server"} {
		if r[name] == nil {
			t.Errorf("no %s", name)
		}
	}
}
