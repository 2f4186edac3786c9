//go:build linux

package portluck

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Under load none of the requests that were sent before Shutdown is lost.
func TestShutdownUnderLoad(t *testing.T) {
	t.Parallel()
	const clients, each = 500, 20 // 10,000 requests
	hub, e := record(nil)
	var messages atomic.Int64
	hub.OnConnect, hub.OnDisconnect = nil, nil
	hub.OnMessage = func(m Message, w *Writer, _ *Client) {
		messages.Add(1)
		w.Send(m)
	}
	s := &Server{Hub: hub}
	l := listen(t)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	var conns []*net.TCPConn
	for i := range clients {
		c := dial(t, l.Addr().String())
		conns = append(conns, c)
		_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
		if i%2 == 0 {
			send(t, c, strings.Repeat("{line}\n", each))
			continue
		}
		body := strings.Repeat("{line}\n", each)
		send(t, c, fmt.Sprintf("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body))
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown() = %v", err)
	}
	<-done
	if n := s.Stats().Open; n > 0 {
		t.Errorf("%d connections are open", n)
	}
	lost := 0
	for _, c := range conns {
		lost += each - strings.Count(expectEnd(t, c), "{line}\n")
	}
	if lost > 0 || messages.Load() != clients*each {
		t.Errorf("%d answers lost, %d messages; events %.200q", lost, messages.Load(), e.all())
	}
}

func TestShutdownSaysGoodbye(t *testing.T) {
	t.Parallel()
	hub, e := record(echo)
	s := &Server{Hub: hub}
	l := listen(t)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	raw := dial(t, l.Addr().String())
	send(t, raw, "{}\n")
	expect(t, raw, "{}\n")
	w := dialWS(t, "ws://"+l.Addr().String())
	w.send(t, Text, "hi")
	w.expect(t, Text, "hi")
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(context.Background()) }()
	expectEnd(t, raw)
	raw.Close()
	w.expectClose(t, 1001)
	w.Close()
	if err := <-down; err != nil {
		t.Errorf("Shutdown() = %v", err)
	}
	<-done
	ends := 0
	for _, ev := range e.waitFor(6) {
		if strings.HasPrefix(ev, "disconnect") {
			ends++
		}
	}
	if ends != 2 {
		t.Errorf("events %q", e.all())
	}
}

// Shutdown with a context that has ended closes what is left at once.
func TestShutdownDeadline(t *testing.T) {
	t.Parallel()
	block := make(chan struct{})
	hub := &Hub{OnMessage: func(Message, *Writer, *Client) { <-block }}
	s := &Server{Hub: hub}
	l := listen(t)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	c := dial(t, l.Addr().String())
	send(t, c, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx")
	eventually(t, "it is served", func() bool { return hub.Len() == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown() = %v", err)
	}
	close(block)
	<-done
	http.DefaultClient.CloseIdleConnections()
}

// Silent clients that leave while the server shuts down get their OnDisconnect, also inside TLS.
func TestShutdownWhileSilentClientsLeave(t *testing.T) {
	t.Parallel()
	const n = 100
	hub, e := record(nil)
	s := &Server{Hub: hub, TLSConfig: withTLS(), SniffTimeout: sniffSoon, Goroutines: byGoroutines}
	allowHandshakes(t, s)
	l := listen(t)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	var all []net.Conn
	for range n {
		all = append(all, dialTLS(t, l.Addr().String()))
	}
	eventually(t, "all are announced", func() bool { return s.Stats().Silent == n })
	for _, c := range all {
		c.(*tls.Conn).NetConn().Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown() = %v", err)
	}
	<-done
	got := 0
	for _, ev := range e.all() {
		if strings.HasPrefix(ev, "disconnect") {
			got++
		}
	}
	if got != n || s.Stats().Open != 0 || hub.Len() != 0 {
		t.Errorf("%d of %d clients have disconnected, %d are open", got, n, s.Stats().Open)
	}
}

// What was sent inside TLS before Shutdown is served, although its protocol is not yet known.
func TestShutdownServesWhatIsInsideTLS(t *testing.T) {
	t.Parallel()
	const n = 50
	logged := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	s := &Server{Hub: echoHub(), TLSConfig: withTLS(), Goroutines: byGoroutines, Log: logged, SniffTimeout: time.Minute}
	l := listen(t)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	var all []net.Conn
	for range n {
		all = append(all, dialTLS(t, l.Addr().String())) // no ALPN
	}
	for i, c := range all {
		if i%2 == 0 {
			send(t, c, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
		} else {
			send(t, c, "{hi\n")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown() = %v", err)
	}
	<-done
	for i, c := range all {
		if got, err := io.ReadAll(c); err != nil || !strings.HasSuffix(joined(string(got)), "hi\n") {
			t.Errorf("client %d reads %q, %v", i, got, err)
		}
	}
}

// A callback of the TLS configuration that waits for the context of the handshake does not delay a
// shutdown, nor does a handshake that waits for its client.
func TestShutdownEndsHandshakes(t *testing.T) {
	for name, end := range map[string]func(s *Server) error{
		"Shutdown": func(s *Server) error { return s.Shutdown(context.Background()) },
		"Close":    func(s *Server) error { return s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shaking, returned := make(chan struct{}), make(chan struct{})
			config := &tls.Config{GetCertificate: func(i *tls.ClientHelloInfo) (*tls.Certificate, error) {
				defer close(returned)
				close(shaking)
				<-i.Context().Done()
				return nil, i.Context().Err()
			}}
			s := &Server{TLSConfig: config, SniffTimeout: -1, Goroutines: byGoroutines}
			l := listen(t)
			done := make(chan error, 1)
			go func() { done <- s.Serve(l) }()
			// ends with its connection
			go tls.Client(dial(t, l.Addr().String()), &tls.Config{InsecureSkipVerify: true}).Handshake()
			<-shaking
			if err := end(s); err != nil {
				t.Errorf("it returned %v", err)
			}
			<-returned
			<-done
			eventually(t, "none is open", func() bool { return s.Stats().Open == 0 })
		})
	}
}

// After Shutdown only connections that the program has taken over are open.
func TestNothingIsOpenAfterShutdown(t *testing.T) {
	for range 5 {
		s := &Server{Hub: echoHub(), TLSConfig: withTLS(), Goroutines: byGoroutines, Pages: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
				io.WriteString(c, "mine")
			}
		})}
		l := listen(t)
		done := make(chan error, 1)
		go func() { done <- s.Serve(l) }()
		hijacked := dial(t, l.Addr().String())
		send(t, hijacked, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		expect(t, hijacked, "mine")
		for range 50 {
			posted(t, dial(t, l.Addr().String()))
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown() = %v", err)
		}
		if n := s.Stats().Open; n != 1 {
			t.Errorf("%d connections are open, want the one that was hijacked", n)
		}
		<-done
	}
}
