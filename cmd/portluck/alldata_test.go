package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers/alldata"
)

// Many clients put while the server is killed, or told to end: all that was answered is in its directory, and the next
// server has it.
func TestEventsSurvive(t *testing.T) {
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
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
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

// holdsEvents holds that a directory has these events.
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
