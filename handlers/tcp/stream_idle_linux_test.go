package tcp

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// An idle stream has no goroutine.
func TestStreamIdleHasNoGoroutine(t *testing.T) {
	const n = 1000
	server, client := newDiary(), newDiary()
	v := &Server{Events: server.events(), OnConnection: func(s *Stream) {
		s.SetTimeout(time.Hour)
		s.SetEncoding(UTF8)
	}}
	addr := listen(t, v)
	first := dial(t, client, "tcp", addr) // starts the loops' own goroutines
	server.has(t, "connect")
	before := runtime.NumGoroutine()
	for range n {
		dial(t, client, "tcp", addr)
	}
	count := func(d *diary) int {
		return len(slices.DeleteFunc(d.all(), func(e string) bool { return e != "connect" }))
	}
	server.await(t, "connections", func() bool { return count(server) == n+1 })
	client.await(t, "connections", func() bool { return count(client) == n+1 })
	within(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before+10 })
	if got := v.Connections(); got != n+1 {
		t.Errorf("Connections() = %d, want %d", got, n+1)
	}
	first.Destroy()
}

// An idle stream has no goroutine after the handshake either.
func TestStreamIdleTLSHasNoGoroutine(t *testing.T) {
	const n = 100
	server, client := newDiary(), newDiary()
	v := &Server{Events: server.events(), OnConnection: func(s *Stream) { secure(t, s, serverConfig(false)) }}
	client.do.OnConnect = func(s *Stream) { secure(t, s, nil) }
	client.do.OnSecure = func(s *Stream) { write(t, s, "x") }
	addr := listen(t, v)
	dial(t, client, "tcp", addr)
	server.got(t, "x")
	before := runtime.NumGoroutine()
	for range n {
		dial(t, client, "tcp", addr)
	}
	server.got(t, strings.Repeat("x", n+1))
	within(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before+10 })
}
