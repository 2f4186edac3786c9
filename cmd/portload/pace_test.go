package main

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A pacedServer is a server of lines in memory. It notes when each line comes.
type pacedServer struct {
	began time.Time
	// delay returns how long the echo of line i of a connection waits, and with it all later ones.
	delay func(i int) time.Duration
	came  [][]time.Duration // of each connection
}

// serve echoes the lines of connection n until it ends. It reads while an echo waits, as a kernel
// does.
func (s *pacedServer) serve(n int, c net.Conn) {
	lines := make(chan []byte, 1<<10)
	go func() { // ends with lines
		for i := 0; ; i++ {
			line, ok := <-lines
			if !ok {
				return
			}
			if s.delay != nil {
				time.Sleep(s.delay(i))
			}
			_, _ = c.Write(line) // fails when the client is gone
		}
	}()
	defer close(lines)
	buf := make([]byte, 1<<10)
	for {
		k, err := c.Read(buf)
		if err != nil {
			return
		}
		for line := range strings.Lines(string(buf[:k])) {
			s.came[n] = append(s.came[n], time.Since(s.began))
			lines <- []byte(line)
		}
	}
}

// start returns a worker with as many connections to the server as the plan has.
func (s *pacedServer) start(p *plan) *echoWorker {
	p.Size, p.Timeout = 8, 10*time.Second
	w := &echoWorker{dialer: &dialer{plan: p}, sleep: pause}
	s.began, s.came = time.Now(), make([][]time.Duration, p.Conns)
	for i := range p.Conns {
		ours, theirs := net.Pipe()
		b := &base{Conn: ours}
		w.pumps = append(w.pumps, newPump(w, &link{Conn: b, base: b, codec: lineCodec{}}))
		go s.serve(i, theirs) // ends with the worker
	}
	return w
}

// runPaced runs the worker once.
func runPaced(t *testing.T, w *echoWorker, count int) tally {
	t.Helper()
	got, err := w.do(t.Context(), step{Do: "run", Count: count})
	if err != nil || got.Error != "" {
		t.Fatalf("run: %v %s", err, got.Error)
	}
	return got
}

// wantLatency checks a quantile, which is up to 3 % too high.
func wantLatency(t *testing.T, got tally, q float64, want time.Duration) {
	t.Helper()
	if d := got.Latency.quantile(q); d < want || d > want+want/32 {
		t.Errorf("quantile %v = %v, want %v", q, d, want)
	}
}

// Messages are due at equal distances, and the clients take them in turn.
func TestRateSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &pacedServer{}
		w := s.start(&plan{Conns: 2, Depth: 1, Rate: 10})
		defer w.close()
		if got := runPaced(t, w, 5); got.Done != 5 || got.Unsent != 0 {
			t.Errorf("%+v", got)
		}
		ms := time.Millisecond
		want := [][]time.Duration{{0, 200 * ms, 400 * ms}, {100 * ms, 300 * ms}}
		if !slices.EqualFunc(s.came, want, slices.Equal) {
			t.Errorf("messages came at %v, want %v", s.came, want)
		}
	})
}

// A stall counts for every message that was due in it, not only for the one that met it.
func TestRateStall(t *testing.T) {
	for _, tc := range []struct {
		name  string
		rate  float64
		p90   time.Duration
		depth int
	}{
		{"one in flight", 100, 700 * time.Millisecond, 1},
		{"all in flight", 100, 700 * time.Millisecond, 1000},
		{"closed loop", 0, 0, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &pacedServer{delay: func(i int) time.Duration { return time.Duration(b2i(i == 100)) * time.Second }}
				w := s.start(&plan{Conns: 1, Depth: tc.depth, Rate: tc.rate})
				defer w.close()
				begin := time.Now()
				got := runPaced(t, w, 300)
				if got.Done != 300 || got.Unsent != 0 {
					t.Errorf("%+v", got)
				}
				wantLatency(t, got, 1, time.Second)
				wantLatency(t, got, .5, 0) // a hundred of the messages wait for 1 s, 0.99 s, and so on
				wantLatency(t, got, .9, tc.p90)
				if took := time.Since(begin); tc.rate > 0 && took != 2990*time.Millisecond {
					t.Errorf("300 messages took %v, want 2.99s", took)
				}
			})
		})
	}
}

// A sender that is late sends all that was due, and the delay is a part of the latency.
func TestRateLateSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &pacedServer{}
		w := s.start(&plan{Conns: 1, Depth: 1, Rate: 100})
		defer w.close()
		w.sleep = func(ctx context.Context, _ time.Duration) { pause(ctx, time.Second) }
		got := runPaced(t, w, 200)
		if got.Done != 200 || len(s.came[0]) != 200 {
			t.Errorf("%d echoes of %d messages, want 200", got.Done, len(s.came[0]))
		}
		wantLatency(t, got, 1, 990*time.Millisecond)
		wantLatency(t, got, .5, 500*time.Millisecond)
	})
}

// What was due and could not be sent within the time is counted, with the time it has waited.
func TestRateUnsent(t *testing.T) {
	for _, tc := range []struct {
		name  string
		late  time.Duration // what each sleep of the sender lasts at least
		depth int
		done  int64
	}{
		{"slow server", 0, 1, 11},        // 0 to 9, and 10, whose echo comes after the end
		{"slow sender", time.Hour, 1, 1}, // only the first one needs no sleep
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &pacedServer{delay: func(i int) time.Duration { return time.Duration(b2i(i == 10)) * 5 * time.Second }}
				w := s.start(&plan{Conns: 1, Depth: tc.depth, Rate: 100, Time: time.Second})
				defer w.close()
				w.sleep = func(ctx context.Context, d time.Duration) { pause(ctx, max(d, tc.late)) }
				got := runPaced(t, w, 0)
				if got.Done != tc.done || got.Done+got.Unsent != 100 || got.Latency.count() != 100 {
					t.Errorf("%d echoes, %d unsent, %d latencies, want %d, and 100 in all", got.Done, got.Unsent, got.Latency.count(), tc.done)
				}
				if tc.late > 0 {
					wantLatency(t, got, .5, 500*time.Millisecond)
				}
			})
		})
	}
}

// A long wait for the next message is no wait for an echo.
func TestRateIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := (&pacedServer{}).start(&plan{Conns: 1, Depth: 1, Rate: .1}) // one for each Timeout
		defer w.close()
		if got := runPaced(t, w, 4); got.Done != 4 {
			t.Errorf("%+v", got)
		}
	})
}

// A run leaves nothing to the next.
func TestRateAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &pacedServer{}
		w := s.start(&plan{Conns: 3, Depth: 2, Rate: 1000, Time: 50 * time.Millisecond})
		defer w.close()
		for range 3 {
			got := runPaced(t, w, 0)
			if got.Done != 50 || got.Unsent != 0 {
				t.Errorf("%+v", got)
			}
			wantLatency(t, got, 1, 0)
		}
	})
}

// A server that closes, or does not answer, fails the run.
func TestRateFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &pacedServer{delay: func(i int) time.Duration { return time.Duration(b2i(i == 3)) * time.Minute }}
		w := s.start(&plan{Conns: 1, Depth: 8, Rate: 10})
		defer w.close()
		begin := time.Now()
		got, err := w.do(t.Context(), step{Do: "run", Count: 100})
		if err != nil || got.Failed != 1 || got.Error != "no echo within 10s (--timeout)" {
			t.Errorf("%+v, %v", got, err)
		}
		// Message 3 is due at 0.3 s.
		if took := time.Since(begin); took != 10*time.Second+300*time.Millisecond {
			t.Errorf("it took %v, want 10.3s", took)
		}
		time.Sleep(time.Minute) // the end of the server
	})
	synctest.Test(t, func(t *testing.T) {
		w := (&pacedServer{}).start(&plan{Conns: 1, Depth: 1, Rate: 10})
		ours, theirs := net.Pipe()
		w.pumps[0].base.Conn.Close()
		w.pumps[0].base.Conn = ours
		go func() { // ends with the first message
			_, _ = theirs.Read(make([]byte, 64))
			theirs.Close()
		}()
		got, _ := w.do(t.Context(), step{Do: "run", Count: 3})
		if got.Failed != 1 || !strings.Contains(got.Error, "closed") {
			t.Errorf("%+v", got)
		}
	})
}

// The report says what was asked for, and what was reached; several processes share the rate.
func TestEchoRate(t *testing.T) {
	for _, args := range []string{
		"--proto tcp", "--proto tls --size 20000 --depth 4", "--proto ws --depth 4", "--proto https", "--proto tcp --files 67",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			list := strings.Fields(args)
			s := startServer(t, list[1], &testServer{})
			r, err := load(t, append([]string{"echo", s.addr, "--clients", "5", "--rate", "1000", "--count", "100"}, list...)...)
			if err != nil {
				t.Error(err)
			}
			want(t, r, map[string]float64{"messages": 100, "failed": 0, "rate_asked": 1000, "clients": 5})
			l := r["latency_seconds"].(map[string]any)
			if r["seconds"].(float64) < .09 || r["rate_reached"] != r["per_second"] || l["p999"].(float64) < l["p99"].(float64) {
				t.Errorf("%v", r)
			}
		})
	}
}

// A run that is interrupted reports what it has.
func TestRateInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := (&pacedServer{}).start(&plan{Conns: 2, Depth: 1, Rate: 100})
		defer w.close()
		ctx, cancel := context.WithTimeoutCause(t.Context(), 95*time.Millisecond, errors.New("Ctrl-C"))
		defer cancel()
		got, err := w.do(ctx, step{Do: "run"})
		if err != nil || got.Failed != 0 || got.Done != 10 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// With --get an answer counts whatever it says.
func TestGet(t *testing.T) {
	s := startServer(t, "http", &testServer{page: "a page"})
	for _, cmd := range []string{"conn", "echo"} {
		r, err := load(t, cmd, s.addr, "--proto", "http", "--get", "--path", "/page", "--count", "20", "--clients", "2")
		if err != nil || r["failed"].(float64) != 0 {
			t.Errorf("%s: %v, %v", cmd, r, err)
		}
	}
	if _, err := load(t, "conn", s.addr, "--proto", "http", "--count", "1", "--path", "/page", "--timeout", "2s"); err == nil {
		t.Error("a POST to a page is no error")
	}
}
