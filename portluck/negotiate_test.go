package portluck

import (
	"net/http"
	"strings"
	"testing"
)

func TestAccepts(t *testing.T) {
	for accept, want := range map[string]bool{
		"":                                              false,
		"text/event-stream":                             true,
		"Text/Event-Stream ; charset=utf-8":             true,
		"*/*":                                           false,
		"text/*":                                        false,
		"text/event-stream;q=0":                         false,
		"text/event-stream;q=0.000, */*":                false,
		"text/event-stream, */*":                        true,
		"text/event-stream;q=0.5, */*":                  false,
		"text/event-stream;q=0.5, */*;q=0.4":            true,
		"text/html, text/event-stream;q=0.9":            false,
		"text/html;q=0.8, text/event-stream; Q=1":       true,
		"text/*;q=0.3, */*, text/event-stream;q=0.3":    true,
		`text/x;a="b,text/event-stream"`:                false,
		`text/x;a="\", ";q=0, text/event-stream`:        true,
		`text/event-stream;a=";q=0"`:                    true,
		"text/event-stream;q=2":                         false,
		"text/event-stream;q=0.1234":                    false,
		"text/event-stream;q=1.0.0":                     false,
		"text/event-stream;q=+1":                        false,
		"text/event-stream;q=1e0":                       false,
		"text/event-stream;q=1.":                        true,
		"text/event-stream;q=, text/event-stream;q=0.1": true,
		"xtext/event-stream":                            false,
		"text/html\ntext/event-stream":                  true, // two fields
		"text/html;q=0\ntext/event-stream;q=0.001":      true,
		"application/json, text/event-stream":           true, // clients of MCP
		", ,\t,text/event-stream;;q=1;":                 true,
		"text/event-stream;q=0\n*/*;q=1":                false,
		"*/*;q=1\ntext/event-stream;q=0":                false,
		"*/*;q=0, text/event-stream":                    true,
		"*/*;q=0\ntext/*;q=0.1":                         false,
		"text/event-stream;q=0.0":                       false,
		"text/event-stream;q=0;q=1":                     false,
		"text/event-stream;v=1, text/event-stream;q=0":  false, // the type has no v
		"text/event-stream;q=0, text/event-stream;v=1":  false,
		"text/event-stream;v=1;q=0, text/event-stream":  true,
		"text/event-stream;v=1":                         true,
		// parameters after q do not belong to the type
		"text/event-stream;q=1;v=1, text/html":                        true,
		`text/event-stream;q="1"`:                                     false,
		"text/event-stream;q":                                         false,
		"text/event-stream;q=.5":                                      false,
		"text/event-stream;q=-0":                                      false,
		"text/event-stream;q=NaN":                                     false,
		"text/event-stream;q=0x1":                                     false,
		"text/event-stream;q=1.001":                                   false,
		"text/event-stream;q=0,5":                                     false,
		"*/*, text/html;q=0, text/event-stream;q=0.2":                 true,
		"text/html;level=1, text/event-stream;q=0.4, text/html;q=0.3": true,
		"event-stream":                                                false,
		"*/event-stream":                                              false,
		"*":                                                           false,
		"text/event-stream/x":                                         false,
		"text /event-stream":                                          false,
		`"text/event-stream"`:                                         false,
		"text/event-streams":                                          false,
	} {
		r := &http.Request{Header: http.Header{}}
		if accept != "" {
			r.Header["Accept"] = strings.Split(accept, "\n")
		}
		if got := accepts(r, eventStream, "text/html"); got != want {
			t.Errorf("%q: %t, want %t", accept, got, want)
		}
	}
}

// If Accept decides between a page and a stream, the Vary header tells caches so.
func TestVaryAccept(t *testing.T) {
	t.Parallel()
	addr := serve(t, &Server{
		Hub: &Hub{}, RoomOf: func(r *http.Request) (string, bool) { return "x", r.URL.Path == "/room" },
		Pages: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Add("Vary", "Cookie")
			w.Header().Set("Cache-Control", "max-age=60")
		}),
	})
	for _, tt := range []struct {
		method, target, accept string
		want                   bool
	}{
		{"GET", "/room", "text/html", true},
		{"GET", "/room", "", true},
		{"GET", "/room", "text/event-stream;q=0, */*", true},
		{"GET", "/room", eventStream, true},
		{"HEAD", "/room", "", true},
		{"HEAD", "/room", eventStream, true},
		{"GET", "/room?since=", "", true}, // text or JSON
		{"GET", "/", "", false},
		{"GET", "/", eventStream, false},
		{"HEAD", "/", "", false},
		{"POST", "/room", eventStream, false},
		{"DELETE", "/room", eventStream, false},
	} {
		r := must(http.NewRequestWithContext(t.Context(), tt.method, "http://"+addr+tt.target, nil))
		if tt.accept != "" {
			r.Header.Set("Accept", tt.accept)
		}
		resp := must(http.DefaultTransport.RoundTrip(r))
		resp.Body.Close()
		fields := strings.Join(resp.Header["Vary"], ", ")
		if got := strings.Count(fields, "Accept"); (got == 1) != tt.want || got > 1 {
			t.Errorf("%s %s with %q: Vary: %s, want Accept %t", tt.method, tt.target, tt.accept, fields, tt.want)
		}
	}
}

// For every Accept, the weight is between 0 and 1, and the order of the fields does not change the
// answer.
func FuzzAccept(f *testing.F) {
	f.Add("text/event-stream;q=0.5", `*/*;a="\"";q=1`)
	f.Add("text/html, text/event-stream;q=0.9", "text/*")
	f.Fuzz(func(t *testing.T, a, b string) {
		q, named := quality([]string{a, b}, eventStream)
		if q2, named2 := quality([]string{b, a}, eventStream); q != q2 || named != named2 {
			t.Errorf("%q, %q: %v %t, %v %t in the other order", a, b, q, named, q2, named2)
		}
		if !(q >= 0 && q <= 1) || named && !strings.Contains(strings.ToLower(a+b), eventStream) {
			t.Errorf("%q, %q: %v %t", a, b, q, named)
		}
	})
}
