package handlers_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// A refusal is one complete response with the date and a sentence, and closes the connection.
func TestAppendRefusal(t *testing.T) {
	for status, fields := range map[int][][2]string{
		http.StatusRequestTimeout:     nil,
		http.StatusServiceUnavailable: {{"Retry-After", "1"}},
		http.StatusUpgradeRequired:    {{"Connection", "close, Upgrade"}, {"Upgrade", "websocket"}},
	} {
		in := bufio.NewReader(bytes.NewReader(handlers.AppendRefusal([]byte(nil), status, "no", fields...)))
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != "no\n" || resp.StatusCode != status || !resp.Close {
			t.Errorf("%d: %+v %q, %v", status, resp, body, err)
		}
		if at, err := http.ParseTime(resp.Header.Get("Date")); err != nil || time.Since(at).Abs() > time.Minute {
			t.Errorf("%d: Date %v, %v", status, at, err)
		}
		for _, f := range fields {
			if f[0] != "Connection" && resp.Header.Get(f[0]) != f[1] {
				t.Errorf("%d: %s is %q, want %q", status, f[0], resp.Header.Get(f[0]), f[1])
			}
		}
		if in.Buffered() > 0 {
			t.Errorf("%d: %d bytes more", status, in.Buffered())
		}
	}
}
