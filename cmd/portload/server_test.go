package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// A testServer echoes messages, or sends each to all.
type testServer struct {
	addr string
	// answers says how often each message goes to client number i; once if nil.
	answers func(i int, msg []byte) int
	// greet is called with each new WebSocket or line connection, if not nil.
	greet func(c net.Conn)

	// page is what every GET of HTTP answers.
	page  string
	toAll bool
	wg    sync.WaitGroup
	mu    sync.Mutex
	conns map[net.Conn]int
	seen  int // connections
	ended bool
}

// accepted returns how many connections there were.
func (s *testServer) accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// open returns how many connections there are.
func (s *testServer) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// startServer serves one protocol on a free port until the test ends.
func startServer(tb testing.TB, proto string, s *testServer) *testServer {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s.addr, s.conns = l.Addr().String(), map[net.Conn]int{}
	if proto == "tls" || proto == "https" || proto == "wss" {
		l = tls.NewListener(l, &tls.Config{Certificates: certificate(tb)})
	}
	if strings.HasPrefix(proto, "http") {
		web := &http.Server{Handler: http.HandlerFunc(s.post)}
		s.wg.Go(func() { _ = web.Serve(l) }) // ends with Close
		tb.Cleanup(func() {
			web.Close()
			s.wg.Wait()
		})
		return s
	}
	s.wg.Go(func() { // ends with l
		for i := 0; ; i++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.serve(c, i, strings.HasPrefix(proto, "ws")) }) // ends with c
		}
	})
	tb.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		s.ended = true
		for c := range s.conns {
			c.Close()
		}
		s.mu.Unlock()
		s.wg.Wait()
	})
	return s
}

// certificate is one for example.com and 127.0.0.1.
func certificate(tb testing.TB) []tls.Certificate {
	tb.Helper()
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	return web.TLS.Certificates
}

func (s *testServer) post(w http.ResponseWriter, r *http.Request) {
	if s.page != "" && r.Method != http.MethodGet {
		http.Error(w, "only GET", http.StatusMethodNotAllowed)
		return
	}
	if s.page != "" {
		_, _ = io.WriteString(w, s.page)
		return
	}
	body, _ := io.ReadAll(r.Body)
	for range s.count(0, body) {
		_, _ = w.Write(body)
	}
}

func (s *testServer) count(i int, msg []byte) int {
	if s.answers == nil {
		return 1
	}
	return s.answers(i, msg)
}

// serve serves client i.
func (s *testServer) serve(c net.Conn, i int, isWS bool) {
	defer c.Close()
	if !s.set(c, -1) {
		return
	}
	defer func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	if isWS {
		if _, err := ws.Upgrade(c); err != nil {
			return
		}
	}
	if s.greet != nil {
		s.greet(c)
	}
	s.set(c, i)
	lines := bufio.NewReader(c)
	for {
		msg, err := receive(c, lines, isWS)
		if err != nil || !s.spread(c, msg, isWS) {
			return
		}
	}
}

// set records that c is client i, which is negative before the handshake. It returns false when the
// server has ended.
func (s *testServer) set(c net.Conn, i int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = i
	if i < 0 {
		s.seen++
	}
	if s.ended {
		c.Close()
	}
	return !s.ended
}

func receive(c net.Conn, lines *bufio.Reader, isWS bool) ([]byte, error) {
	if isWS {
		return wsutil.ReadClientText(c)
	}
	line, err := lines.ReadBytes('\n')
	return bytes.TrimSuffix(line, []byte("\n")), err
}

// spread sends msg to its receivers. If it returns false, the caller closes the sender. A negative
// count closes the receiver.
func (s *testServer) spread(from net.Conn, msg []byte, isWS bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, i := range s.conns {
		if i < 0 || c != from && !s.toAll {
			continue
		}
		n := s.count(i, msg)
		if n < 0 {
			c.Close()
		}
		for range n {
			if isWS {
				_ = wsutil.WriteServerText(c, msg)
			} else {
				_, _ = c.Write(append(msg[:len(msg):len(msg)], '\n'))
			}
		}
	}
	return true
}
