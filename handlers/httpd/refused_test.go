package httpd

import (
	"net/http"
	"testing"
)

// After a request from a page of another origin, the server closes an HTTP/1 connection, and does
// not read what follows.
func TestForeignOriginCloses(t *testing.T) {
	t.Parallel()
	addr, _ := serve(t, &Handler{}, &port{})
	w := dial(t, addr)
	w.send("POST / HTTP/1.1\r\nHost: x\r\nOrigin: http://evil\r\nContent-Length: 0\r\n\r\n")
	if resp, _ := w.answer(); resp.StatusCode != 403 || !resp.Close {
		t.Errorf("answer %d, close %t, want 403 and true", resp.StatusCode, resp.Close)
	}
}

// The target of a tunnel, and *, are not paths that a program can mount.
func TestNothingMountsTheServer(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	for _, tt := range []struct {
		line string
		want int
	}{
		{"CONNECT / HTTP/1.1", 405},
		{"CONNECT x:1 HTTP/1.1", 405},
		{"OPTIONS * HTTP/1.1", 200},
		{"OPTIONS / HTTP/1.1", http.StatusTeapot},
	} {
		t.Run(tt.line, func(t *testing.T) {
			addr, _ := serve(t, &Handler{Mux: mux}, &port{})
			w := dial(t, addr)
			w.send(tt.line + "\r\nHost: x\r\nOrigin: http://x\r\n\r\n")
			resp, _ := w.answer()
			if resp.StatusCode != tt.want {
				t.Errorf("status %d, want %d", resp.StatusCode, tt.want)
			}
			if got := resp.Header.Get("Access-Control-Allow-Origin"); tt.want == 200 && got != "http://x" {
				t.Errorf("Access-Control-Allow-Origin = %q: net/http has answered, not we", got)
			}
		})
	}
}
