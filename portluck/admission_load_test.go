package portluck

import (
	"context"
	"sync/atomic"
	"testing"
	"time"
)

// holding returns a hub whose OnHandshake admits the first client at once and keeps the others
// until release is closed, with the number of calls.
func holding() (hub *Hub, inside *atomic.Int64, release chan struct{}) {
	inside, release = &atomic.Int64{}, make(chan struct{})
	hub, _ = asking(func(context.Context, *Handshake) error {
		if inside.Add(1) > 1 {
			<-release
		}
		return nil
	})
	return hub, inside, release
}

// 2,000 OnHandshakes run at once while an admitted client of the same server is served.
func TestHandshakesAtOnce(t *testing.T) {
	t.Parallel()
	const n = 2000
	hub, inside, release := holding()
	s := &Server{Hub: hub, HandshakeTimeout: -1}
	c := dial(t, serve(t, s))
	send(t, c, "x\n")
	expect(t, c, "x\n") // it is admitted
	p, ended := must(s.start()), make(chan error, n)
	for range n {
		go func() { ended <- p.Admit(t.Context(), &Handshake{Info: &Info{}}) }() // ends with release
	}
	eventually(t, "all are asked about", func() bool { return inside.Load() == n+1 })
	send(t, c, "y\n")
	expect(t, c, "y\n")
	close(release)
	for range n {
		if err := awaited(t, ended); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "no call is counted", func() bool { return p.admissions.running.Load() == 0 })
}

// While OnHandshake waits for some clients, others of the same server are served, on both drivers.
func TestHandshakeDelaysNobodyElse(t *testing.T) {
	t.Parallel()
	const n = 64
	hub, inside, release := holding()
	addr := serve(t, &Server{Hub: hub, HandshakeTimeout: -1})
	c := dial(t, addr)
	send(t, c, "x\n")
	expect(t, c, "x\n") // is admitted
	for range n {
		send(t, dial(t, addr), "late\n")
	}
	eventually(t, "all are asked about", func() bool { return inside.Load() == n+1 })
	send(t, c, "y\n")
	expect(t, c, "y\n")
	close(release)
}

// BenchmarkHandshake admits 2,000 raw clients whose OnHandshake takes 100 ms: it reports the time
// until the last one has its answer.
func BenchmarkHandshake(b *testing.B) {
	const n = 2000
	hub := &Hub{OnMessage: func(m Message, w *Writer, _ *Client) { _ = w.Send(m) }}
	hub.OnHandshake = func(context.Context, *Handshake) error {
		pauseFor(100 * time.Millisecond)
		return nil
	}
	addr := serve(b, &Server{Hub: hub})
	for b.Loop() {
		ended := make(chan struct{}, n)
		for range n {
			go func() { // ends with the echo
				defer func() { ended <- struct{}{} }()
				c := dial(b, addr)
				defer c.Close()
				send(b, c, "x\n")
				expect(b, c, "x\n")
			}()
		}
		for range n {
			<-ended
		}
	}
}
