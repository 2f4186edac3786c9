package page

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/portluck/portluck/testdata/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// get asks the page for something.
func get(t *testing.T, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h := Handler(func() any { return []map[string]any{{"id": 1, "first": "</script>"}} })
	h.ServeHTTP(w, httptest.NewRequest(method, "http://localhost:8100"+path, nil))
	return w
}

func TestParts(t *testing.T) {
	tests := []struct{ path, kind string }{
		{"/", "text/html; charset=utf-8"},
		{"/style.css", "text/css; charset=utf-8"},
		{"/app.js", "text/javascript; charset=utf-8"},
		{"/connections.js", "text/javascript; charset=utf-8"},
		{"/icon.svg", "image/svg+xml"},
		{"/connections", "application/json"},
	}
	for _, tt := range tests {
		w := get(t, http.MethodGet, tt.path)
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != tt.kind || w.Body.Len() == 0 {
			t.Errorf("GET %s: %d %q, %d bytes", tt.path, w.Code, w.Header().Get("Content-Type"), w.Body.Len())
		}
	}
	if w := get(t, http.MethodGet, "/nothing"); w.Code != http.StatusNotFound {
		t.Errorf("GET /nothing: %d", w.Code)
	}
	if w := get(t, http.MethodDelete, "/"); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") == "" {
		t.Errorf("DELETE /: %d", w.Code)
	}
}

// The page may load nothing from elsewhere, and has nothing inline that its policy would forbid.
func TestPolicy(t *testing.T) {
	w := get(t, http.MethodGet, "/")
	policy := w.Header().Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "ws://localhost:8100"} {
		if !strings.Contains(policy, want) {
			t.Errorf("policy %q has no %q", policy, want)
		}
	}
	for _, inline := range []string{"<style", " style=", "onclick=", "javascript:", "<script>"} {
		if strings.Contains(w.Body.String(), inline) {
			t.Errorf("the page has an inline %q", inline)
		}
	}
}

func TestConnections(t *testing.T) {
	var got []struct {
		ID    int
		First string
	}
	w := get(t, http.MethodGet, "/connections")
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || len(got) != 1 || got[0].First != "</script>" {
		t.Errorf("connections %s: %v", w.Body, err)
	}
}

func TestNotModified(t *testing.T) {
	h := Handler(nil)
	first := httptest.NewRecorder()
	h.ServeHTTP(first, httptest.NewRequest(http.MethodGet, "/", nil))
	again := httptest.NewRequest(http.MethodGet, "/", nil)
	again.Header.Set("If-None-Match", first.Header().Get("ETag"))
	second := httptest.NewRecorder()
	h.ServeHTTP(second, again)
	if second.Code != http.StatusNotModified || second.Body.Len() > 0 {
		t.Errorf("answer %d with %d bytes", second.Code, second.Body.Len())
	}
}
