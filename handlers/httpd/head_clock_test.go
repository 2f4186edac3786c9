package httpd

import (
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/grace"
)

// A head that is not complete HeaderTimeout after its first byte is answered with 408, also if it
// is not the first. If no byte of it has come, the connection is closed without an answer.
func TestLateHeads(t *testing.T) {
	const (
		get    = "GET / HTTP/1.1\r\nHost: x\r\n"
		header = DefaultHeaderTimeout
		idle   = DefaultIdleTimeout
	)
	for _, tt := range []struct {
		name   string
		pieces []string // sent a second apart
		served int      // requests that are served
		after  time.Duration
		told   bool
	}{
		{"nothing", nil, 0, header, false},
		{"a byte", []string{"G"}, 0, header, true},
		{"a method", []string{"GET"}, 0, header, true},
		{"fields", []string{get}, 0, header, true},
		{"a late first byte", []string{"", "", "", get}, 0, 3*time.Second + header, true},
		{"drops", []string{"G", "E", "T", " ", "/", " ", "H", "T"}, 0, header, true},
		{"an empty line", []string{"\r\n"}, 0, header, false},
		{"an empty line and a byte", []string{"\r\n", "G"}, 0, time.Second + header, true},

		{"nothing after a request", []string{post("a")}, 1, idle, false},
		{"a byte after one", []string{post("a"), "G"}, 1, time.Second + header, true},
		{"a method after one", []string{post("a"), "GET"}, 1, time.Second + header, true},
		{"fields after one", []string{post("a"), get}, 1, time.Second + header, true},
		{"drops after one", []string{post("a"), "G", "E", "T", " ", "/", " ", "H", "T"}, 1, time.Second + header, true},
		{"an empty line after one", []string{post("a"), "\r\n"}, 1, idle, false},
		{"two after one", []string{post("a"), "\r\n\r\n"}, 1, time.Second + header, false},
		{"an empty line and a byte after one", []string{post("a"), "\r\n", "G"}, 1, 2*time.Second + header, true},
		{"a preface after one", []string{post("a"), "PRI * HTTP/2.0\r\n"}, 1, time.Second + header, true},

		{"a byte with one", []string{post("a") + "G"}, 1, header, true},
		{"three with one", []string{post("a") + "GET"}, 1, header, true},
		{"four with one", []string{post("a") + "GET "}, 1, header, true},
		{"a line with one", []string{post("a") + "GET / HTTP/1.1\r\n"}, 1, header, true},
		{"fields with two", []string{post("a") + post("b") + get}, 2, header, true},
		{"an empty line with one", []string{post("a") + "\r\n"}, 1, idle, false},
		{"two with one", []string{post("a") + "\r\n\r\n"}, 1, header, false},
		{"an empty line and a byte with one", []string{post("a") + "\r\nG"}, 1, header, true},
		{"a third", []string{post("a"), post("b"), "GET /"}, 2, 2*time.Second + header, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &port{message: echo}
			bubble(t, &Handler{}, p, func(t *testing.T, w *wire, _ *conn) {
				begin := time.Now()
				go func() { // ends with the connection
					for i, piece := range tt.pieces {
						if i > 0 {
							time.Sleep(time.Second)
						}
						_, _ = io.WriteString(w, piece)
					}
				}()
				for range tt.served {
					w.answer()
				}
				if tt.told {
					resp, text := w.answer()
					if resp.StatusCode != 408 || !resp.Close || text == "" {
						t.Errorf("answer %d %q, close %t, want 408", resp.StatusCode, text, resp.Close)
					}
				}
				if rest, _ := io.ReadAll(w.r); len(rest) > 0 {
					t.Errorf("read %q", rest)
				}
				if took := time.Since(begin); took != tt.after {
					t.Errorf("it took %v, want %v", took, tt.after)
				}
				synctest.Wait()
				if got := slices.Contains(p.events(), "fail "+handlers.ErrStalled.Error()); got != tt.told {
					t.Errorf("events %q", p.events())
				}
			})
		})
	}
}

// A connection that may begin HTTP/2 is closed without an HTTP/1 answer.
func TestLatePreface(t *testing.T) {
	for _, begin := range []string{"P", "PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nS"} {
		p := &port{}
		bubble(t, &Handler{}, p, func(t *testing.T, w *wire, _ *conn) {
			w.send(begin)
			if rest, _ := io.ReadAll(w.r); len(rest) > 0 {
				t.Errorf("%q: read %q", begin, rest)
			}
			synctest.Wait()
			if got := p.events(); !slices.Equal(got, []string{"fail " + handlers.ErrStalled.Error()}) {
				t.Errorf("%q: events %q", begin, got)
			}
		})
	}
}

// The part of a head that comes while the previous request is served counts for its HeaderTimeout
// too.
func TestLateHeadBehindASlowAnswer(t *testing.T) {
	for next, told := range map[string]bool{"": false, "G": true, "GET": true, "GET / HTTP/1.1\r\n": true, "\r": false, "\r\n": false} {
		t.Run(next, func(t *testing.T) {
			p := &port{message: func(msg string, s handlers.Response) error {
				time.Sleep(time.Hour)
				return echo(msg, s)
			}}
			bubble(t, &Handler{}, p, func(t *testing.T, w *wire, _ *conn) {
				w.send(post("a"))
				time.Sleep(time.Minute)
				// Ends with the connection: no more than a byte is read meanwhile.
				go io.WriteString(w, next)
				w.expect(200, "a\n")
				if told {
					w.expect(408, "The request did not come in time.\n")
				}
				if rest, _ := io.ReadAll(w.r); len(rest) > 0 {
					t.Errorf("read %q", rest)
				}
			})
		})
	}
}

// Without a bound a head may take any time, also between its first bytes.
func TestHeadsWithoutBound(t *testing.T) {
	bubble(t, &Handler{HeaderTimeout: -1}, &port{message: echo}, func(t *testing.T, w *wire, _ *conn) {
		for range 2 {
			for i, piece := range strings.SplitAfter(post("a"), "T") {
				w.send(piece)
				if i < 3 {
					time.Sleep(24 * time.Hour)
				}
			}
			w.expect(200, "a\n")
		}
	})
}

// Empty lines before the first request of a connection are skipped, however they are split. Those
// before later ones are left to net/http.
func TestEmptyLines(t *testing.T) {
	for _, tt := range []struct {
		name, before, lines string
		status              int
	}{
		{"none", "", "", 200},
		{"CRLF", "", "\r\n", 200},
		{"LF", "", "\n", 200},
		{"several", "", "\r\n\n\r\n\r\n", 200},
		{"many", "", strings.Repeat("\r\n", 5000), 200},
		{"CR", "", "\r", 400},
		{"CR and CRLF", "", "\r\r\n", 400},
		{"CRLF and CR", "", "\r\n\r", 400},
		{"CRLF and a space", "", "\r\n ", 400},
		{"a space", "", " \r\n", 400},
		{"CRLF after a POST", post("a"), "\r\n", 200},
		{"CRLF after a GET", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\r\n", 400},
	} {
		for _, dripped := range []bool{false, true} {
			if dripped && len(tt.lines) > 100 {
				continue
			}
			t.Run(tt.name+map[bool]string{true: ", dripped"}[dripped], func(t *testing.T) {
				bubble(t, &Handler{}, &port{message: echo}, func(t *testing.T, w *wire, _ *conn) {
					if tt.before != "" {
						w.send(tt.before)
						w.answer()
					}
					go func() { // ends with the connection
						all := tt.lines + post("b")
						for dripped && len(all) > 0 {
							if _, err := io.WriteString(w, all[:1]); err != nil {
								return
							}
							all = all[1:]
						}
						_, _ = io.WriteString(w, all)
					}()
					if resp, _ := w.answer(); resp.StatusCode != tt.status {
						t.Errorf("status %d, want %d", resp.StatusCode, tt.status)
					}
				})
			})
		}
	}
}

// A preface of HTTP/2 must come first. Otherwise it gets no HTTP/1 answer.
func TestEmptyLineBeforeAPreface(t *testing.T) {
	bubble(t, &Handler{}, &port{}, func(t *testing.T, w *wire, _ *conn) {
		w.send("\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
		if rest, _ := io.ReadAll(w.r); len(rest) > 0 {
			t.Errorf("read %q", rest)
		}
	})
}

// A deadline that has passed while the process was stopped counts only after the bytes that have
// come were read.
func TestHeadIsReadBeforeItIsJudged(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, begin string
		later       bool // it is not the first head of the connection
	}{{"part of a head", "GET / HT", false}, {"nothing", "", false}, {"part of a later head", "GET / HT", true}, {"nothing of one", "", true}} {
		t.Run(tt.name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			w := dial(t, ln.Addr().String())
			nc, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			l := newHTTPConn(newConn(nc), &port{quiet: true}, nc)
			l.head.budget = &handlers.Budget{}
			m := newWatch(grace.Conn(nc), l, &delays{})
			l.head.clock.beginsFirst(time.Hour)
			_ = m.SetReadDeadline(time.Now().Add(time.Hour))
			if tt.later {
				l.head.begins()
			}
			p := make([]byte, netHTTPBuffer)
			if tt.begin != "" {
				w.send(tt.begin)
				n, err := io.ReadFull(m, p[:len(tt.begin)])
				if err != nil {
					t.Fatal(n, err)
				}
			}
			l.head.clock.set = l.head.clock.left.Load() // it is waiting already
			w.send("TP/1.1\r\n")
			eventually(t, "it has come", func() bool { return grace.HasUnread(nc) })
			_ = nc.SetReadDeadline(past)
			if n, err := m.Read(p); string(p[:n]) != "TP/1.1\r\n" || err != nil {
				t.Errorf("Read = %q, %v", p[:n], err)
			}
			_ = nc.SetReadDeadline(past) // before the next Read
			if n, err := m.Read(p); n != 0 || err == nil {
				t.Errorf("Read = %q, %v, want the end", p[:n], err)
			}
		})
	}
}
