package programs

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/portluck/portluck/portluck"
)

// A framework's router serves its paths, and the hub the rest of the port.
func TestRouter(t *testing.T) {
	api := chi.NewRouter()
	api.Get("/api/devices/{id}", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "device "+chi.URLParam(r, "id"))
	})
	srv := &portluck.Server{
		Hub: &portluck.Hub{OnMessage: func(m portluck.Message, w *portluck.Writer, _ *portluck.Client) { w.Send(m) }},
	}
	srv.Mount("/api/", api)
	addr := serve(t, srv)
	url := "http://" + addr
	client := &http.Client{Timeout: time.Minute}
	for _, tt := range []struct{ method, path, body, want string }{
		{"GET", "/api/devices/7", "", "200 device 7"},
		{"GET", "/api/nothing", "", "404 404 page not found\n"},
		{"DELETE", "/api/devices/7", "", "405 "},
		{"POST", "/", "hello\n", "200 hello\n"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tt.method, url+tt.path, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if got := resp.Status[:4] + string(body); got != tt.want || err != nil {
			t.Errorf("%s %s: %q, %v, want %q", tt.method, tt.path, got, err, tt.want)
		}
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	answer := make([]byte, len("raw\n"))
	if _, err := io.WriteString(c, "raw\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, answer); err != nil || string(answer) != "raw\n" {
		t.Errorf("a raw client: %q, %v", answer, err)
	}
}
