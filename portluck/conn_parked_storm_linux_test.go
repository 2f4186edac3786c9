package portluck

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Shutdown closes parked connections, and answers the requests that came before it.
func TestParkedShutdown(t *testing.T) {
	t.Parallel()
	hub, _ := record(echo)
	s := &Server{Hub: hub, ParkAfter: parksAtOnce, TLSConfig: withTLS()}
	l := listen(t)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	var all []net.Conn
	var readers []*bufio.Reader
	for i := range 60 {
		var c net.Conn = dial(t, l.Addr().String())
		if i%3 == 0 {
			c = dialTLS(t, l.Addr().String(), "http/1.1")
		}
		br := bufio.NewReader(c)
		ask(t, c, br, postHi)
		all, readers = append(all, c), append(readers, br)
	}
	waitParked(t, s, len(all))
	for i := range len(all) / 2 {
		send(t, all[i], postHi)
	}
	var wg sync.WaitGroup
	for i, br := range readers {
		wg.Go(func() { // ends with the connection
			if i < len(all)/2 {
				if got := answerOf(t, br); got != "200 OK hi\n" {
					t.Errorf("request %d: %q", i, got)
				}
			}
			if b, err := io.ReadAll(br); len(b) > 0 || err != nil {
				t.Errorf("connection %d reads %q, %v, want io.EOF", i, b, err)
			}
			all[i].Close()
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown() = %v", err)
	}
	<-done
	wg.Wait()
	if n := parkedOf(s); n != 0 || s.Stats().Open != 0 {
		t.Errorf("%d parked, %d open after Shutdown", n, s.Stats().Open)
	}
}

// Clients that ask, leave and come back at any moment get their own answers, from the lane and from
// net/http.
func TestParkedStorm(t *testing.T) {
	t.Parallel()
	for end, inline := range map[string]int{"Shutdown": 0, "Close": 0, "Close, no lane": -1} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			s := &Server{
				Hub:       &Hub{OnMessage: func(m Message, w *Writer, _ *Client) { echo(m, w) }},
				ParkAfter: parksAtOnce, TLSConfig: withTLS(), MaxInlineRequest: inline,
			}
			l := listen(t)
			done := make(chan error, 1)
			go func() { done <- s.Serve(l) }()
			var wg sync.WaitGroup
			var answered atomic.Int64
			stop := make(chan struct{})
			for i := range 8 {
				wg.Go(func() { storm(t, l.Addr().String(), i, &answered, stop) }) // ends with stop
			}
			eventually(t, "clients are served", func() bool { return answered.Load() > 2000 })
			close(stop)
			if end != "Shutdown" {
				s.Close()
			} else if err := s.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown() = %v", err)
			}
			<-done
			wg.Wait()
			if err := s.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown() = %v", err)
			}
			eventually(t, "all are closed", func() bool { return s.Stats().Open == 0 && parkedOf(s) == 0 })
		})
	}
}

// storm runs one client after another until stop.
func storm(t *testing.T, addr string, id int, answered *atomic.Int64, stop chan struct{}) {
	r := rand.New(rand.NewPCG(uint64(id), 0))
	for n := 0; ; {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		var c net.Conn = nc
		if r.IntN(6) == 0 {
			c = tls.Client(nc, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		}
		br := bufio.NewReader(c)
		for range r.IntN(12) {
			select {
			case <-stop:
				nc.Close()
				return
			default:
			}
			n++
			body := fmt.Sprintf("%d.%d", id, n)
			more := ""
			if r.IntN(4) == 0 {
				more = "X-Not-For-The-Lane: 1\r\n"
			}
			_, _ = fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %d\r\n\r\n%s", more, len(body), body)
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				select {
				case <-stop:
				default:
					t.Errorf("request %s: %v", body, err)
				}
				nc.Close()
				return
			}
			got, err := io.ReadAll(resp.Body)
			if err != nil || string(got) != body+"\n" {
				t.Errorf("request %s is answered with %q, %v", body, got, err)
			}
			answered.Add(1)
			if r.IntN(3) == 0 {
				pauseFor(time.Duration(r.IntN(300)) * time.Microsecond)
			}
		}
		if r.IntN(2) == 0 {
			_ = nc.(*net.TCPConn).SetLinger(0) // a reset
		}
		if r.IntN(3) == 0 {
			_, _ = io.WriteString(c, "POST / HT")
		}
		nc.Close()
	}
}
