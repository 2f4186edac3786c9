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

// Whatever Accept is, a weight is one, and another order of the fields does not change the answer.
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
