package websocket

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A refusal that says Connection: close closes the connection: what follows in the same write is
// not served.
func TestRefusalThroughNetHTTPCloses(t *testing.T) {
	t.Parallel()
	for _, status := range []int{400, 403, 405, 421, 426, 503} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			served := make(chan string, 4)
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				served <- r.URL.Path
				if r.URL.Path == "/ws" {
					(&refusal{status: status, why: "no"}).write(w, r)
				}
			}))
			defer s.Close()
			c, err := net.Dial("tcp", s.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			get := func(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n" }
			if _, err := io.WriteString(c, get("/first")+get("/ws")+get("/after")); err != nil {
				t.Fatal(err)
			}
			br := bufio.NewReader(c)
			for _, want := range []int{200, status} {
				r, err := http.ReadResponse(br, nil)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, r.Body)
				if r.StatusCode != want || r.Close != (want == status) {
					t.Errorf("status %d, close %v; want %d, %v", r.StatusCode, r.Close, want, want == status)
				}
			}
			if rest, err := io.ReadAll(br); len(rest) > 0 || err != nil {
				t.Errorf("behind the refusal came %q, %v", rest, err)
			}
			s.Close()
			close(served)
			var got []string
			for path := range served {
				got = append(got, path)
			}
			if want := "/first /ws"; strings.Join(got, " ") != want {
				t.Errorf("served %q, want %q", got, want)
			}
		})
	}
}
