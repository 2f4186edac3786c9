package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/portluck/portluck/handlers/alldata"
)

// While many clients put events, the server is killed or terminated. Its directory has every event
// that was answered, and so has the next server.
func TestEventsSurvive(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		end  func(p *process) error
	}{
		{"kill -9", func(p *process) error { return p.Process.Kill() }},
		{"interrupt", func(p *process) error { return p.Process.Signal(os.Interrupt) }},
		{"kill -9 again", func(p *process) error { return p.Process.Kill() }},
	}
	dir := filepath.Join(t.TempDir(), "events")
	kept := map[string]bool{}
	for round, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := startProcess(t, "--tls", "off", "--alldata", dir)
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			peer := &alldata.Client{URL: "http://" + p.addr + "/_put", Attempts: 1, HTTP: &http.Client{Transport: transport}}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			var mu sync.Mutex
			enough := make(chan struct{})
			n := 0
			var wg sync.WaitGroup
			for writer := range 8 {
				wg.Go(func() { // ends with the server
					for i := 0; ; i++ {
						key := fmt.Sprintf("%d-%d-%d", round, writer, i)
						if peer.Put(ctx, key, eventOf(key)) != nil {
							return
						}
						mu.Lock()
						kept[key] = true
						if n++; n == 100+97*round {
							close(enough)
						}
						mu.Unlock()
					}
				})
			}
			select {
			case <-enough:
			case <-ctx.Done():
				t.Fatal("no 100 puts within a minute")
			}
			if err := tt.end(p); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
			<-p.exited
			holdsEvents(t, dir, kept)
		})
	}
	p := startProcess(t, "--tls", "off", "--alldata", dir)
	peer := &alldata.Client{URL: "http://" + p.addr + "/_put"}
	defer http.DefaultClient.CloseIdleConnections()
	for key := range kept {
		if err := peer.Put(t.Context(), key, eventOf(key)); err != nil {
			t.Errorf("Put() of what is kept = %v", err)
		}
		if err := peer.Put(t.Context(), key, json.RawMessage("0")); !errors.Is(err, alldata.ErrConflict) {
			t.Errorf("Put() of another event = %v", err)
		}
		break
	}
}

func eventOf(key string) json.RawMessage { return fmt.Appendf(nil, `{"event":%q}`, key) }

// holdsEvents checks that the store in dir has the events with these keys.
func holdsEvents(t *testing.T, dir string, keys map[string]bool) {
	t.Helper()
	s := &alldata.Store{Dir: dir}
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for key := range keys {
		if got, err := s.Get(key); string(got) != string(eventOf(key)) || err != nil {
			t.Fatalf("%q was answered; now Get() = %s, %v", key, got, err)
		}
	}
	t.Logf("%d events", len(keys))
}

// The server's own page may put an event, and shows it. A page of another origin may not.
func TestChromiumAllData(t *testing.T) {
	t.Parallel()
	path := needs(t, "chromium")
	dir := filepath.Join(t.TempDir(), "events")
	p := startProcess(t, "--tls", "off", "--alldata", dir)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<title>another origin</title>")
	}))
	defer other.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	ctx, cancelAlloc := chromedp.NewExecAllocator(ctx, chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.Headless,
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.Flag("disable-background-networking", true))
	defer cancelAlloc()
	ctx, cancelTab := chromedp.NewContext(ctx)
	defer cancelTab()
	put := func(key, options string) string {
		t.Helper()
		js := fmt.Sprintf(`fetch("http://%s/_put", {method: "POST", body: '{"key":%q,"event":{"event":%q}}', %s})
			.then(r => r.type + " " + r.status, e => e.name)`, p.addr, key, key, options)
		answer, err := chromedp.Run(ctx, chromedp.Evaluate[string](js, chromedp.EvalAwaitPromise))
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	err := chromedp.Do(ctx, chromedp.Navigate("http://"+p.addr+"/"),
		chromedp.Poll[chromedp.Void](`document.querySelector("#state").textContent === "connected"`))
	if err != nil {
		t.Fatal(err)
	}
	if got := put("own", ""); got != "basic 201" {
		t.Errorf("the page's put: %s, want 201", got)
	}
	err = chromedp.Do(ctx,
		chromedp.Poll[chromedp.Void](`document.querySelector("#log").textContent.includes('{"event":"own"}')`),
		chromedp.Poll[chromedp.Void](`document.querySelector("#panels").textContent.includes('[put own] {"event":"own"}')`))
	if err != nil {
		t.Errorf("the page does not show it: %v", err)
	}
	if err := chromedp.Do(ctx, chromedp.Navigate(other.URL)); err != nil {
		t.Fatal(err)
	}
	for options, want := range map[string]string{
		`mode: "no-cors"`: "opaque 0", `mode: "cors"`: "TypeError", `headers: {"Content-Type": "application/json"}`: "TypeError",
	} {
		if got := put("evil", options); got != want {
			t.Errorf("put by another origin, %s: %s, want %s", options, got, want)
		}
	}
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.exited
	holdsEvents(t, dir, map[string]bool{"own": true})
	s := &alldata.Store{Dir: dir}
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if n, err := s.Len(); n != 1 || err != nil {
		t.Errorf("%d events, %v: another origin has put one", n, err)
	}
}
