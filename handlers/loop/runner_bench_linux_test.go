package loop

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// spins returns a client of l, whose callback computes for d with each message, and answers.
func spins(tb testing.TB, l *Loop, d func() time.Duration) *net.TCPConn {
	tb.Helper()
	server, client := tcpPair(tb)
	c, rec := l.New(&fakeConn{nc: server}, handlers.Attachment{Codec: &lines{}}), &spinner{d: d}
	rec.conn = c
	if run := c.Start(rec); run != nil {
		run()
	}
	return client
}

// A spinner is an Events that records nothing.
type spinner struct {
	conn Conn
	d    func() time.Duration
}

func (*spinner) Connect(*handlers.Info) error { return nil }
func (*spinner) Disconnect(error)             {}

func (s *spinner) Message(m handlers.Message) error {
	for begin, d := time.Now(), s.d(); time.Since(begin) < d; {
	}
	return s.conn.Send(m.Data, m.Kind)
}

// roundTrip sends a line and reads its echo.
func roundTrip(tb testing.TB, c net.Conn) {
	var got [2]byte
	_, err := io.WriteString(c, "x\n")
	if err == nil {
		_, err = io.ReadFull(c, got[:])
	}
	if err != nil {
		tb.Error(err)
	}
}

// BenchmarkRunners measures how many callbacks run at once. It has 16 clients whose callbacks
// compute for 100 µs. The clients are in the same process, so more than 1.7 needs more than two
// idle processors.
func BenchmarkRunners(b *testing.B) {
	const each = 100 * time.Microsecond
	l := &Loop{}
	clients := make([]*net.TCPConn, 16)
	for i := range clients {
		clients[i] = spins(b, l, func() time.Duration { return each })
	}
	var wg sync.WaitGroup
	b.ResetTimer()
	for i, c := range clients {
		wg.Go(func() {
			for k := i; k < b.N; k += len(clients) {
				roundTrip(b, c)
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)*float64(each)/float64(b.Elapsed()), "at-once")
	b.StopTimer()
	l.Close()
	l.Wait()
}

// BenchmarkBesideASpin measures the longest time that other clients wait while a callback computes
// for 50 ms. One round is one such callback.
func BenchmarkBesideASpin(b *testing.B) {
	l := &Loop{}
	long := spins(b, l, func() time.Duration { return 50 * time.Millisecond })
	other := spins(b, l, func() time.Duration { return 0 })
	worst := time.Duration(0)
	for b.Loop() {
		done := make(chan struct{})
		go func() { // ends with the callback
			defer close(done)
			roundTrip(b, long)
		}()
		for ended := false; !ended; {
			begin := time.Now()
			roundTrip(b, other)
			worst = max(worst, time.Since(begin))
			select {
			case <-done:
				ended = true
			default:
			}
		}
	}
	b.ReportMetric(float64(worst)/1e6, "ms-worst")
	l.Close()
	l.Wait()
}
