package matchers_test

import (
	"strings"
	"testing"

	"github.com/portluck/portluck/matchers"
)

// Every method that is registered or in use, in any case, begins a request.
func TestHTTP1EveryMethod(t *testing.T) {
	// https://www.iana.org/assignments/http-methods, then UPnP, caches and streaming.
	for _, method := range strings.Fields(`
		ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK MERGE MKACTIVITY
		MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PRI PROPFIND PROPPATCH PUT
		QUERY REBIND REPORT SEARCH TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE UPDATEREDIRECTREF VERSION-CONTROL
		M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PURGE SOURCE`) {
		verdicts(t, matchers.HTTP1(), map[string]string{
			method + " /": "yes", strings.ToLower(method) + " *": "yes", method + " x": "more", method + "X /": "more",
		})
	}
	verdicts(t, matchers.HTTP1(), map[string]string{
		"UPDATEREDIRECTREFS /":                  "more", // longer than any method
		"ABCDEFGHIJKLMNOPQRSTUVWXYZ / HTTP/1.1": "yes",
	})
}

// The bytes with which a target and a version may begin, and their neighbours.
func TestHTTP1Targets(t *testing.T) {
	verdicts(t, matchers.HTTP1(), map[string]string{
		"GET http://":            "yes",
		"GET https://":           "yes",
		"GET http:/":             "more",
		"GET ":                   "more",
		"GET a:80":               "more", // only CONNECT has an authority
		"CONNECT a:0":            "yes",
		"CONNECT a:9":            "yes",
		"connect a:1":            "yes",
		"CONNECT a:":             "more",
		"CONNECT a:/":            "more",
		"CONNECT a::":            "more",
		"CONNECT a":              "more",
		"CONNECT a1":             "more",
		"CONNECT a ":             "more",
		"CONNECT a b:1":          "no",
		"CONNECT :1":             "more",
		"CONNECT [::1]:1":        "yes",
		"CONNECT a:b:1":          "yes",
		"CONNECT  HTTP/1.1":      "yes", // an empty target
		"FOO  HTTP/1.1":          "yes",
		"FOO  bar":               "more",
		"FOO HTTP/1.1\r\n":       "no",
		"FOO \n":                 "no",
		"FOO bar\n":              "no",
		"FOO bar HTTP/0":         "yes",
		"FOO bar HTTP/9":         "yes",
		"FOO bar HTTP//":         "no",
		"FOO bar HTTP/:":         "no",
		"FOO bar HTTP/":          "more",
		"FOO bar HTTP":           "more",
		"FOO bar http/1.1":       "yes",
		"FOO bar ":               "more",
		"FOO bar \n":             "no",
		"FOO\tbar HTTP/1.1":      "no",
		" /":                     "no", // a method may follow white space
		"\x7fGET / HTTP/1.1\r\n": "no",
	})
}
