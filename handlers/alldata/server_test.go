package alldata

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestServerPaths(t *testing.T) {
	tests := []struct {
		name   string
		paths  []string
		path   string
		status int
	}{
		{"what clients use by default", nil, "/", 201},
		{"what the protocol is called", nil, "/_put", 201},
		{"with a query", nil, "/_put?a=b", 201},
		{"another", nil, "/other", 404},
		{"below", nil, "/_put/", 404},
		{"not clean", nil, "//_put", 404},
		{"its own", []string{"/own"}, "/own", 201},
		{"not its own", []string{"/own"}, "/_put", 404},
		{"every", []string{"*"}, "/any/path/./at//all", 201},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &puts{}
			url := listen(t, &Server{Handler: &Handler{OnPut: p.put}, Paths: tt.paths})
			resp, err := http.Post(strings.TrimSuffix(url, "/")+tt.path, "", strings.NewReader(upstreamBody))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != tt.status || (p.all() != "") != (tt.status == 201) {
				t.Errorf("status %d, puts %q, want %d", resp.StatusCode, p.all(), tt.status)
			}
		})
	}
}

// dialServer connects to a server by its URL.
func dialServer(t *testing.T, url string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return c, bufio.NewReader(c)
}

const rawPut = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 23\r\n\r\n{\"key\":\"k\",\"event\":{}} "

// Close lets a request that has begun finish, and accepts no other. Listen may be called again.
func TestServerClose(t *testing.T) {
	begun, end := make(chan struct{}, 1), make(chan struct{})
	own := "127.0.0.1:0"
	// Elsewhere another test could get the port once it is closed; on Linux none listens there.
	if runtime.GOOS == "linux" {
		own = "127.0.0.2:0"
	}
	s := &Server{Addr: own, Handler: &Handler{OnPut: func(context.Context, string, json.RawMessage) error {
		begun <- struct{}{}
		<-end
		return nil
	}}}
	if err := s.Close(); err != nil {
		t.Errorf("Close() before Listen = %v", err)
	}
	for range 2 {
		addr, err := s.Listen()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Listen(); err == nil {
			t.Error("Listen() twice succeeded")
		}
		c, r := dialServer(t, "http://"+addr.String()+"/")
		io.WriteString(c, rawPut)
		<-begun
		closed := make(chan error)
		go func() { closed <- s.Close() }() // ends when the request does
		end <- struct{}{}
		if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 201 {
			t.Errorf("answer %v, %v", resp, err)
		}
		if err := <-closed; err != nil {
			t.Errorf("Close() = %v", err)
		}
		if c, err := net.Dial("tcp", addr.String()); err == nil {
			c.Close()
			t.Error("connected after Close")
		}
	}
}

// After CloseTimeout Close cuts a request off.
func TestServerCloseTimeout(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	s := &Server{Addr: "127.0.0.1:0", CloseTimeout: 1, Handler: &Handler{OnPut: func(context.Context, string, json.RawMessage) error {
		close(begun)
		<-end
		return nil
	}}}
	addr, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	c, r := dialServer(t, "http://"+addr.String()+"/")
	io.WriteString(c, rawPut)
	<-begun
	if err := s.Close(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close() = %v", err)
	}
	if _, err := r.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after CloseTimeout the connection is not cut off: %v", err)
	}
	close(end)
}

// The server closes each connection beyond MaxConns. A connection that ends makes room.
func TestServerMaxConns(t *testing.T) {
	p := &puts{}
	url := listen(t, &Server{Handler: &Handler{OnPut: p.put}, MaxConns: 2})
	ask := func() (net.Conn, bool) {
		c, r := dialServer(t, url)
		io.WriteString(c, rawPut)
		resp, err := http.ReadResponse(r, nil)
		return c, err == nil && resp.StatusCode == 201
	}
	first, ok := ask()
	if _, ok2 := ask(); !ok || !ok2 {
		t.Fatal("two connections are not served")
	}
	if _, ok := ask(); ok {
		t.Error("a third one is served")
	}
	first.Close()
	for late := time.Now().Add(time.Minute); ; {
		if _, ok := ask(); ok {
			break
		}
		if time.Now().After(late) {
			t.Fatal("there is no room again")
		}
	}
}

// OnError is called when the listener fails. Listen returns an error if the address is in use.
func TestServerErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, addr := range []string{l.Addr().String(), "nonsense", "127.0.0.1:99999"} {
		if got, err := (&Server{Addr: addr}).Listen(); err == nil {
			t.Errorf("Listen() on %s = %v", addr, got)
		}
	}
}

// A client whose body is too long gets its answer while it is still sending.
func TestServerAnswersTooLong(t *testing.T) {
	p := &puts{}
	url := listen(t, &Server{Handler: &Handler{OnPut: p.put, Limit: 1000}})
	c, r := dialServer(t, url)
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n")
	go io.Copy(c, strings.NewReader(strings.Repeat("x", 1<<20))) // ends with the connection
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 413 {
		t.Fatalf("answer %v, %v, want 413", resp, err)
	}
	if text, _ := io.ReadAll(resp.Body); string(text) != "the body is longer than 1000 bytes\n" {
		t.Errorf("body %q", text)
	}
}

// A page of a host name that somebody has pointed at this machine cannot put anything.
func TestServerHosts(t *testing.T) {
	for host, want := range map[string]int{"localhost": 201, "127.0.0.1:8080": 201, "app.example": 201, "evil.example": 421} {
		p := &puts{}
		c, r := dialServer(t, listen(t, &Server{Handler: &Handler{OnPut: p.put}, Hosts: []string{"app.example"}}))
		io.WriteString(c, strings.Replace(rawPut, "localhost", host, 1))
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != want || (p.all() != "") != (want == 201) {
			t.Errorf("for %s: %d, puts %q, want %d", host, resp.StatusCode, p.all(), want)
		}
	}
	if _, err := (&Server{Addr: "127.0.0.1:0", Hosts: []string{"http://x"}}).Listen(); err == nil || !strings.Contains(err.Error(), `Hosts: "http://x"`) {
		t.Errorf("Listen() = %v", err)
	}
}
