package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// When files have reached their maximum size (ulimit -f), as on a full disk, a put gets 507 and the
// server goes on. Once there is room again, it accepts the event.
func TestFileSizeBound(t *testing.T) {
	t.Parallel()
	p := startProcess(t, "--tls", "off", "--alldata", filepath.Join(t.TempDir(), "events"))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	bound := func(size uint64) {
		t.Helper()
		if err := unix.Prlimit(p.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: size, Max: unix.RLIM_INFINITY}, nil); err != nil {
			t.Fatal(err)
		}
	}
	put := func(key int) (code int, text string) {
		t.Helper()
		return ask(t, client, http.MethodPost, "http://"+p.addr+"/_put", fmt.Sprintf(`{"key":"%d","event":"%s"}`, key, strings.Repeat("x", 20_000)))
	}
	bound(100_000)
	key, code, text := 0, http.StatusCreated, ""
	for ; code == http.StatusCreated && key < 100; key++ {
		code, text = put(key)
	}
	if code != http.StatusInsufficientStorage || !strings.Contains(text, "no room on the disk") {
		t.Fatalf("event %d: %d %q, want 507 with a sentence", key, code, text)
	}
	if code, _ := ask(t, client, http.MethodGet, "http://"+p.addr+"/", ""); code != http.StatusOK {
		t.Errorf("the page is answered with %d", code)
	}
	bound(unix.RLIM_INFINITY)
	for key := range key + 3 {
		if code, text := put(key); code != http.StatusCreated {
			t.Errorf("when there is room, event %d: %d %q", key, code, text)
		}
	}
}
