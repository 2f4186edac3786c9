package main

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

func TestIdle(t *testing.T) {
	for _, proto := range protocols {
		for _, reader := range []string{"--goroutines=false", "--goroutines=true"} {
			t.Run(proto+reader, func(t *testing.T) {
				t.Parallel()
				s := startServer(t, proto, &testServer{})
				r, err := load(t, "idle", s.addr, "--proto", proto, reader, "--conns", "16", "--time", "50ms", "--settle", "50ms",
					"--burst", "30000", "--line", "hello")
				if err != nil {
					t.Error(err)
				}
				want(t, r, map[string]float64{"conns": 16, "failed": 0, "closed": 0})
			})
		}
	}
}

func TestIdleClosed(t *testing.T) {
	t.Parallel()
	for _, reader := range []string{"--goroutines=false", "--goroutines=true"} {
		var n atomic.Int64
		s := startServer(t, "tcp", &testServer{greet: func(c net.Conn) {
			if n.Add(1)%4 == 0 {
				c.Close()
			}
		}})
		r, err := load(t, "idle", s.addr, reader, "--conns", "7", "--time", "1s", "--settle", "20ms")
		wantError(t, err, "the server closed 2 connections")
		want(t, r, map[string]float64{"conns": 5, "closed": 2})
	}
}

// A WebSocket that says nothing answers pings.
func TestIdlePong(t *testing.T) {
	t.Parallel()
	pongs := make(chan string, 9)
	s := startServer(t, "ws", &testServer{greet: func(c net.Conn) {
		_ = ws.WriteFrame(c, ws.NewPingFrame([]byte("there?")))
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		if op, got := readFrame(c); op == ws.OpPong {
			pongs <- got
		}
		_ = c.SetReadDeadline(time.Time{})
	}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { // ends with the pong, or when there is none
		defer cancel()
		select {
		case got := <-pongs:
			if got != "there?" {
				t.Errorf("pong %q", got)
			}
		case <-time.After(time.Minute):
			t.Error("no pong")
		}
	}()
	if _, err := loadUntil(ctx, t, "idle", s.addr, "--proto", "ws", "--conns", "1", "--time", "1h", "--settle", "20ms"); err != nil {
		t.Error(err)
	}
}
