package httpd

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// bodies begins a POST over each version, in a bubble, and calls test. body is where the client
// writes its body; answer waits for the status and the text of the answer.
func bodies(t *testing.T, h func() *Handler, p func() *port, test func(t *testing.T, p *port, body *io.PipeWriter, answer func() string)) {
	for _, v := range versions {
		if v.secure {
			continue // the same as without TLS
		}
		t.Run(v.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, p := h(), p()
				p.more = make(chan struct{}, 1)
				ours, theirs := net.Pipe()
				// The server drops what the client still sends, as over TCP.
				h.Serve(newConn(&halfPipe{Conn: ours}), p)
				tr := &http.Transport{Protocols: new(http.Protocols), DialContext: func(context.Context, string, string) (net.Conn, error) {
					return theirs, nil
				}}
				v.set(tr.Protocols)
				r, body := io.Pipe()
				got := make(chan string, 1)
				go func() { // ends with the answer
					resp, err := (&http.Client{Transport: tr}).Post("http://x", "", r)
					if err != nil {
						got <- "no answer"
						return
					}
					all, err := io.ReadAll(resp.Body)
					if err != nil {
						all = append(all, " cut"...)
					}
					resp.Body.Close()
					got <- fmt.Sprint(resp.StatusCode, " ", string(all))
				}()
				test(t, p, body, func() string { return <-got })
				body.Close()
				tr.CloseIdleConnections()
				theirs.Close()
				h.Close()
			})
		})
	}
}

// A message of a body must be complete MessageTimeout after its first byte, whatever else is sent
// and written meanwhile.
func TestMessageTimeout(t *testing.T) {
	const minute = time.Minute
	tests := []struct {
		name          string
		idle, message time.Duration
		part          string        // sent every 30 seconds, until it fails
		every         time.Duration // between the program's writes; it never writes if zero
		want          time.Duration // until the answer
		answer, end   string
	}{
		{"dripped", 0, 5 * minute, "x", 0, 5 * minute, "408 Request Timeout\n", "idle timeout"},
		{"dripped, with the default", 0, 0, "x", 0, 2 * minute, "408 Request Timeout\n", "idle timeout"},
		{"dripped, without an idle timeout", -1, 5 * minute, "x", 0, 5 * minute, "408 Request Timeout\n", "idle timeout"},
		{"dripped while the program writes", 2 * minute, 5 * minute, "x", minute, 5 * minute, "200  cut", "idle timeout"},
		{"shorter than the idle timeout", 10 * minute, 4 * minute, "x", 0, 4 * minute, "408 Request Timeout\n", "idle timeout"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bodies(t, func() *Handler { return &Handler{IdleTimeout: tt.idle, MessageTimeout: tt.message} }, func() *port {
				return &port{connect: func(s handlers.Response) error {
					go func() { // ends when the answer does
						for tt.every > 0 && s.Send([]byte("."), handlers.Auto) == nil {
							time.Sleep(tt.every)
						}
					}()
					return nil
				}}
			}, func(t *testing.T, p *port, body *io.PipeWriter, answer func() string) {
				began := time.Now()
				go func() { // ends when the body does
					for {
						if _, err := io.WriteString(body, tt.part); err != nil {
							return
						}
						time.Sleep(30 * time.Second)
					}
				}()
				got := strings.ReplaceAll(answer(), ".\n", "")
				if took := time.Since(began); took < tt.want || took > tt.want+time.Second {
					t.Errorf("answered after %v, want %v", took, tt.want)
				}
				if got != tt.answer {
					t.Errorf("answer %q, want %q", got, tt.answer)
				}
				synctest.Wait()
				if all := p.events(); all[len(all)-1] != "disconnect: "+tt.end {
					t.Errorf("events %q", all)
				}
				body.Close()
				time.Sleep(time.Hour)
			})
		})
	}
}

// Each message has its own time, even if it begins in the segment in which the one before it ends.
// Between two messages there is only the idle timeout.
func TestMessageTimeoutOfEach(t *testing.T) {
	for _, idle := range []time.Duration{2 * time.Minute, -1} {
		bodies(t, func() *Handler { return &Handler{IdleTimeout: idle, MessageTimeout: 80 * time.Second} }, echoing,
			func(t *testing.T, p *port, body *io.PipeWriter, answer func() string) {
				var want string
				for _, part := range []string{"head", "tail\nhead", "tail\nhead", "tail\nhead", "tail\n", "line\n", "line\n", "last"} {
					if _, err := io.WriteString(body, part); err != nil {
						t.Fatal(err)
					}
					want += part
					time.Sleep(70 * time.Second)
				}
				body.Close()
				if got := answer(); got != "200 "+want+"\n" {
					t.Errorf("answer %q", got)
				}
				synctest.Wait()
				if all := p.events(); all[len(all)-1] != "disconnect" {
					t.Errorf("events %q", all)
				}
			})
	}
}

// A negative MessageTimeout means no bound.
func TestNoMessageTimeout(t *testing.T) {
	bodies(t, func() *Handler { return &Handler{MessageTimeout: -1} }, echoing,
		func(t *testing.T, _ *port, body *io.PipeWriter, answer func() string) {
			for range 60 {
				if _, err := io.WriteString(body, "x"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
			}
			body.Close()
			if got, want := answer(), "200 "+strings.Repeat("x", 60)+"\n"; got != want {
				t.Errorf("answer %q", got)
			}
		})
}

// A body that needs more memory than is left is answered with 503. The messages before it that were
// complete are delivered.
func TestBudget(t *testing.T) {
	const most = 40 << 10 // over HTTP/2 net/http buffers 16 KiB
	for _, ends := range []bool{true, false} {
		budget := &handlers.Budget{Max: most}
		bodies(t, func() *Handler { return &Handler{Budget: budget} }, func() *port { return &port{} },
			func(t *testing.T, p *port, body *io.PipeWriter, answer func() string) {
				refused := budget.Refused()
				write := func(s string) {
					if _, err := io.WriteString(body, s); err != nil {
						t.Error(err)
					}
					synctest.Wait()
				}
				write("first\n")
				if got := budget.Held(); got != 0 {
					t.Errorf("%d bytes are held between messages", got)
				}
				write("x")
				if got := budget.Held(); got < 4<<10 || got > most {
					t.Errorf("%d bytes are held of one", got)
				}
				budget.Force(most) // others use the rest
				want := "503 " + handlers.ErrOverload.Error() + "\n"
				end := "disconnect: " + handlers.ErrOverload.Error()
				if ends {
					write("y\n")
					body.Close()
					want, end = "200 ", "disconnect"
				} else {
					go body.Write([]byte(strings.Repeat("x", 64<<10))) // ends with the body
				}
				if got := answer(); got != want {
					t.Errorf("answer %q, want %q", got, want)
				}
				synctest.Wait()
				all := p.events()
				if all[len(all)-1] != end || !slices.Contains(all, "message first") || slices.Contains(all, "message xy") != ends {
					t.Errorf("events %q", all)
				}
				budget.Take(-most)
				if got := budget.Held(); got != 0 || budget.Refused()-refused != map[bool]uint64{false: 1}[ends] {
					t.Errorf("%d bytes are held at the end, %d were refused", got, budget.Refused())
				}
			})
	}
}
