package main

import (
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// --alldata-path sets the path of events. At / only POST requests are events; GET gets the page.
func TestAllDataPath(t *testing.T) {
	t.Parallel()
	const event = `{"key":"k","event":1}`
	type request struct {
		method, path string
		status       int
		body         string // part of the answer, if not empty
	}
	tests := []struct {
		name     string
		args     []string
		requests []request
	}{
		{"default", nil, []request{
			{"POST", "/_put", 201, ""}, {"GET", "/_put", 405, ""}, {"GET", "/", 200, "<html"}, {"POST", "/", 200, ""},
		}},
		{"root", []string{"--alldata-path", "/"}, []request{
			{"POST", "/", 201, ""},
			{"POST", "/?query", 201, ""},
			{"GET", "/", 200, "<html"},
			{"HEAD", "/", 200, ""},
			{"PUT", "/", 200, ""},
		}},
		{"another", []string{"--alldata-path", "/a-b/c.d"}, []request{
			{"POST", "/a-b/c.d", 201, ""}, {"GET", "/a-b/c.d", 405, ""}, {"GET", "/", 200, "<html"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := startProcess(t, append([]string{"--tls", "off", "--alldata", filepath.Join(t.TempDir(), "events")}, tt.args...)...)
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			for _, want := range tt.requests {
				r, err := http.NewRequestWithContext(t.Context(), want.method, "http://"+p.addr+want.path, strings.NewReader(event))
				if err != nil {
					t.Fatal(err)
				}
				answer, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(answer.Body)
				answer.Body.Close()
				if answer.StatusCode != want.status || !strings.Contains(string(body), want.body) {
					t.Errorf("%s %s: %d, want %d with %q", want.method, want.path, answer.StatusCode, want.status, want.body)
				}
			}
		})
	}
}

func TestCheckAllDataPath(t *testing.T) {
	for path, ok := range map[string]bool{
		"/": true, "/_put": true, "/a/b.c~d-e_f": true, "": false, "put": false, "/put/": false, "//": false, "/a//b": false,
		"/../a": false, "/{x}": false, "/a b": false, "/ä": false, "/a?b": false, "/a#b": false, "/%41": false, "GET /": false,
	} {
		err := checked(t, "--alldata", "events", "--alldata-path", path)
		if (err == nil) != ok {
			t.Errorf("%q: %v, want ok %t", path, err, ok)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "--alldata-path ") {
			t.Errorf("%q is not about --alldata-path", err)
		}
	}
	if err := checked(t, "--alldata-path", "/"); err == nil || !strings.Contains(err.Error(), "needs --alldata") {
		t.Errorf("without --alldata: %v", err)
	}
}

// FuzzAllDataPath checks that a path that --alldata-path accepts is served, and that no other path
// is.
func FuzzAllDataPath(f *testing.F) {
	for _, path := range []string{"/", "/_put", "/a/b.c~d-e_f", "/a/", "//", "/.", "/..", "/{x}", "/a b", "/%2f"} {
		f.Add(path, "/other")
	}
	f.Fuzz(func(t *testing.T, path, other string) {
		s := &eventStore{dir: "events", path: path}
		if s.check() != nil {
			return
		}
		mux := http.NewServeMux()
		mux.Handle(s.pattern(""), http.NotFoundHandler())
		for asked, want := range map[string]bool{path: true, other: other == path} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost"+asked, nil)
			if err != nil || !strings.HasPrefix(asked, "/") || r.URL.Path != asked || strings.Contains(asked, "//") || strings.Contains(asked, "/.") {
				continue
			}
			if _, pattern := mux.Handler(r); (pattern != "") != want {
				t.Errorf("%q at %q is mounted: %t", asked, path, !want)
			}
		}
	})
}
