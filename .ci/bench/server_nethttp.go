package main

import (
	"bytes"
	"io"
	"net/http"
	"time"
)

// page is the body of the response to a GET.
var page = bytes.Repeat([]byte("<p>page\n"), 128)

// servePage answers a request for a page.
func servePage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	_, _ = w.Write(page) // fails when the client is gone
}

// serveNetHTTP echoes the bodies of POSTs, and has a page for each GET, with net/http alone.
func serveNetHTTP(e endpoint) error { return newNetHTTP().Serve(e.secured()) }

func newNetHTTP() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", servePage)
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "the body is too long", http.StatusBadRequest)
			return
		}
		_, _ = w.Write(body) // fails when the client is gone
	})
	return &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
}
