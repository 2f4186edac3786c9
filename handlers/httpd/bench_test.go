package httpd

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/portluck/portluck/handlers"
)

// BenchmarkPost sends POST requests on one connection, each with one line that is echoed, to this
// package and to a plain net/http server. The aim is that portluck takes at most 1/0.95 of the
// time.
func BenchmarkPost(b *testing.B) {
	plain := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType[0])
		for body := bufio.NewScanner(r.Body); body.Scan(); {
			w.Write(append(body.Bytes(), '\n'))
		}
	}
	b.Run("nethttp", func(b *testing.B) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		s := &http.Server{Handler: http.HandlerFunc(plain)}
		go s.Serve(l) // ends with Close
		defer s.Close()
		posts(b, l.Addr().String())
	})
	b.Run("portluck", func(b *testing.B) {
		addr, _ := serve(b, &Handler{}, &port{quiet: true, message: echo})
		posts(b, addr)
	})
}

// posts sends b.N requests.
func posts(b *testing.B, addr string) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	request, r := post("a\n"), bufio.NewReader(c)
	b.ReportAllocs()
	for b.Loop() {
		io.WriteString(c, request)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
	}
}

// BenchmarkSplit splits a body of 64 KiB into lines.
func BenchmarkSplit(b *testing.B) {
	body := make([]byte, 64<<10)
	for i := range body {
		body[i] = "0123456789012345678901234567890\n"[i%32]
	}
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		s := splitter{limit: DefaultLimit}
		for p := body; len(p) > 0; { // in reads of the usual size
			n := copy(s.in.Space(), p)
			s.in.Filled(n)
			if err := s.feed(false, func([]byte) error { return nil }); err != nil {
				b.Fatal(err)
			}
			p = p[n:]
		}
		s.release()
	}
}

var _ handlers.Handler = (*Handler)(nil)
