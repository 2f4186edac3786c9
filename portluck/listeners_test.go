//go:build linux

package portluck

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/matchers"
)

// Every kind of connection gives its MaxConns slot back: TRAPS part 2, row 10.
func TestLimits(t *testing.T) {
	t.Parallel()
	tests := map[string]*Server{"in all": {MaxConns: 4}, "per address": {MaxConnsPerIP: 4}}
	for name, s := range tests {
		t.Run(name, func(t *testing.T) {
			hub, _ := record(echo)
			s.Hub, s.TLSConfig = hub, withTLS()
			s.HandleFunc("func", matchers.Prefix("FUNC"), func(c net.Conn) { io.Copy(io.Discard, c) })
			l := s.Listen("listen", matchers.Prefix("LIST"))
			addr := serve(t, s)
			go func() { // ends when the server shuts down
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() { // ends with its client
						defer c.Close()
						io.Copy(io.Discard, c)
					}()
				}
			}()
			for range 3 {
				for _, first := range []string{"{}\n", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "FUNC", "LIST", ""} {
					c := dial(t, addr)
					send(t, c, first)
					eventually(t, "it is open", func() bool { return s.Stats().Open == 1 || first == "" })
					c.Close()
					eventually(t, "it is closed", func() bool { return s.Stats().Open == 0 })
				}
				secure := dialTLS(t, addr)
				send(t, secure, "{}\n")
				expect(t, secure, "{}\n")
				for _, c := range []net.Conn{dialTLS(t, addr), secure, dialWS(t, "ws://"+addr), dialWS(t, "wss://"+addr)} {
					c.Close()
				}
				eventually(t, "they are closed", func() bool { return s.Stats().Open == 0 })
				p := must(s.start())
				p.limits.mu.Lock()
				if l := &p.limits; len(l.peers) > 0 || l.rest.n != 0 || l.head != nil {
					t.Errorf("%d addresses and %d places are still counted", len(l.peers), l.rest.n)
				}
				p.limits.mu.Unlock()
			}
			var all []net.Conn
			for range 4 {
				c := dial(t, addr)
				send(t, c, "{}\n")
				expect(t, c, "{}\n")
				all = append(all, c)
			}
			surplus := dial(t, addr)
			surplus.Write([]byte("{}\n"))
			if got, _ := io.ReadAll(surplus); len(got) > 0 {
				t.Errorf("the fifth reads %q", got)
			}
			all[0].Close()
			eventually(t, "there is room", func() bool { return s.Stats().Open == 3 })
			c := dial(t, addr)
			send(t, c, "{}\n")
			expect(t, c, "{}\n")
		})
	}
}

func TestMaxSniffing(t *testing.T) {
	hub, e := record(echo)
	s := &Server{Hub: hub, MaxSniffing: 5, SniffTimeout: time.Minute}
	addr := serve(t, s)
	first := dial(t, addr)
	send(t, first, "GE")
	seen(t, s, 1, 1)
	for i := range 5 {
		send(t, dial(t, addr), "GE")
		seen(t, s, i+2, min(i+2, 5))
	}
	_, _ = io.ReadAll(first) // the oldest goes
	e.wantError(t, ErrShed.Error())
}

// MaxSniffing also holds for connections that are all accepted at once.
func TestMaxSniffingOfMany(t *testing.T) {
	t.Parallel()
	s := &Server{MaxSniffing: 5, SniffTimeout: time.Minute}
	l := listen(t)
	for range 40 {
		send(t, dial(t, l.Addr().String()), "GE")
	}
	serveOn(t, s, l)
	seen(t, s, 40, 5)
}

// pipeListener is a listener without a socket.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// hiding hides the type of a listener, so that its connections cannot be peeked at.
type hiding struct{ net.Listener }

// Several listeners of any kind are served at once, in the same way.
func TestListeners(t *testing.T) {
	t.Parallel()
	hub, _ := record(echo)
	all := &Server{Hub: hub, TLSConfig: withTLS(), SniffTimeout: time.Minute}
	dialers := map[string]func(s *Server) (dial func() net.Conn){
		"pipe": func(s *Server) func() net.Conn {
			pipes := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
			serveOn(t, s, pipes)
			return func() net.Conn {
				a, b := net.Pipe()
				pipes.conns <- a
				return b
			}
		},
		"unix": func(s *Server) func() net.Conn {
			unix := must(Listen("unix:" + filepath.Join(t.TempDir(), "sock")))[0]
			serveOn(t, s, unix)
			return func() net.Conn { return must(net.Dial("unix", unix.Addr().String())) }
		},
		"tcp": func(s *Server) func() net.Conn {
			addr := serve(t, s)
			return func() net.Conn { return must(net.Dial("tcp", addr)) }
		},
		"hidden": func(s *Server) func() net.Conn {
			l := hiding{listen(t)}
			serveOn(t, s, l)
			return func() net.Conn { return must(net.Dial("tcp", l.Addr().String())) }
		},
	}
	for name, serve := range dialers {
		dial := serve(all)
		soonHub, _ := record(echo)
		soon := &Server{Hub: soonHub, SniffTimeout: 50 * time.Millisecond}
		dialSoon := serve(soon)
		stalls := &Server{SniffTimeout: 50 * time.Millisecond, OnSilence: handlers.Refuse}
		dialStalls := serve(stalls)
		t.Run(name, func(t *testing.T) {
			open := func(dial func() net.Conn) net.Conn {
				c := dial()
				t.Cleanup(func() { c.Close() })
				c.SetDeadline(time.Now().Add(time.Minute))
				return c
			}
			raw := open(dial)
			send(t, raw, "{raw}\n")
			expect(t, raw, "{raw}\n")
			h := open(dial)
			if resp, body := request(t, h, bufio.NewReader(h), "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi"); body != "hi\n" {
				t.Errorf("HTTP: %d %q", resp.StatusCode, body)
			}
			secure := tls.Client(open(dial), &tls.Config{InsecureSkipVerify: true})
			send(t, secure, "{tls}\n")
			expect(t, secure, "{tls}\n")
			secure.Close()
			silent := open(dialSoon)
			eventually(t, "a silent client is announced", func() bool { return soonHub.Len() == 1 })
			send(t, silent, "{later}\n")
			expect(t, silent, "{later}\n")
			spoken := open(dialSoon)
			eventually(t, "a silent client is announced", func() bool { return soonHub.Len() == 2 })
			hello := make(chan struct{})
			go func() { // ends when both have read, where there is no buffer between
				soonHub.Broadcast(TextMessage("{hello}"))
				close(hello)
			}()
			expect(t, spoken, "{hello}\n")
			expect(t, silent, "{hello}\n")
			<-hello
			err := unlessSilent(stalls, func() error { return endsEmpty(open(dialStalls), "GE") })
			if err != nil && !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("stalled: %v", err)
			}
		})
	}
	if names := all.Stats().Routes; names[RouteRaw] != 4+4 || names[RouteHTTP] != 4 || names[RouteTLS] != 4 {
		t.Errorf("routes %v", names)
	}
}

func TestListenAndServe(t *testing.T) {
	for range 10 {
		if listenAndServe(t) {
			return
		}
	}
	t.Error("somebody has taken each port")
}

// listenAndServe returns false if another process has taken the port that it found free.
func listenAndServe(t *testing.T) bool {
	all, err := Listen("localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := all[0].Addr().String()
	if len(all) == 2 && all[0].Addr().(*net.TCPAddr).Port != all[1].Addr().(*net.TCPAddr).Port {
		t.Errorf("listening on %v and %v", all[0].Addr(), all[1].Addr())
	}
	if err := (&Server{Addr: addr}).ListenAndServe(); err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("ListenAndServe() on a taken address = %v", err)
	}
	for _, l := range all {
		l.Close()
	}
	s := &Server{Addr: addr, Hub: echoHub()}
	done := make(chan error, 1)
	go func() { done <- s.ListenAndServe() }()
	eventually(t, "it listens", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return len(done) > 0 || s.Stats().Accepted > 0
	})
	s.Close()
	if err := <-done; isAddrInUse(err) {
		return false
	} else if err != ErrServerClosed {
		t.Errorf("ListenAndServe() = %v", err)
	}
	path := filepath.Join(t.TempDir(), "file")
	os.WriteFile(path, []byte("mine"), 0o600)
	if _, err := Listen("unix:" + path); err == nil {
		t.Error("a file that is no socket was replaced")
	}
	return true
}

// OnVerdict gets the route, the first bytes and the address of a connection: part 2, row 21.
func TestVerdict(t *testing.T) {
	got := make(chan string, 4)
	addr := serve(t, &Server{OnVerdict: func(v Verdict) { got <- fmt.Sprintf("%s %q %s", v.Route, v.First, v.Info.Remote.Addr()) }})
	talk(t, addr, "{first}\n")
	if v := <-got; v != `raw "{first}\n" 127.0.0.1` {
		t.Errorf("verdict %s", v)
	}
	routes := []string{RouteProxy, RouteTLS, RouteH2C, RouteWebSocket, RouteHTTP, RouteRaw, RouteSilent, RouteStalled}
	if !slices.Contains(routes, RouteRaw) {
		t.Error("no raw route")
	}
}

type Arith int

// Double doubles.
func (Arith) Double(n int, reply *int) error {
	*reply = 2 * n
	return nil
}

// A server that wants a net.Listener, here net/rpc of the standard library, shares the port with
// everything else.
func ExampleServer_Listen() {
	s := &Server{Hub: &Hub{OnMessage: func(m Message, w *Writer, _ *Client) { w.Send(m) }}}
	calls := s.Listen("rpc", matchers.Prefix("RPC1"))
	server := rpc.NewServer()
	server.Register(Arith(0))
	go func() { // ends when the port shuts down
		for {
			c, err := calls.Accept()
			if err != nil {
				return
			}
			io.ReadFull(c, make([]byte, 4)) // "RPC1"
			go server.ServeConn(c)          // ends with the connection
		}
	}()
	l, _ := net.Listen("tcp", "127.0.0.1:0")
	go s.Serve(l)

	c, _ := net.Dial("tcp", l.Addr().String())
	io.WriteString(c, "RPC1")
	client := rpc.NewClient(c)
	var twice int
	fmt.Println(client.Call("Arith.Double", 21, &twice), twice)
	client.Close()

	raw, _ := net.Dial("tcp", l.Addr().String())
	io.WriteString(raw, "a raw line\n")
	line, _ := bufio.NewReader(raw).ReadString('\n')
	fmt.Print(line)
	raw.Close()
	s.Shutdown(context.Background())
	// Output:
	// <nil> 42
	// a raw line
}
