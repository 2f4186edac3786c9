package portluck

import (
	"testing"
	"time"
)

func TestRawEcho(t *testing.T) {
	hub, e := record(echo)
	addr := serve(t, &Server{Hub: hub})
	c := dial(t, addr)
	send(t, c, "{a}\n")
	expect(t, c, "{a}\n")
	send(t, c, "b\r\nta")
	expect(t, c, "b\r\n")
	send(t, c, "il")
	c.CloseWrite()
	if got := expectEnd(t, c); got != "tail\n" {
		t.Errorf("read %q", got)
	}
	e.want(t, "connect tcp", "message {a}", "message b\r", "message tail", "disconnect tcp")
	if got := hub.Len(); got != 0 {
		t.Errorf("Len() = %d, want 0", got)
	}
}

func TestRawDecidedByFIN(t *testing.T) {
	hub, e := record(echo)
	addr := serve(t, &Server{Hub: hub})
	if got := talk(t, addr, "P"); got != "P\n" {
		t.Errorf("read %q", got)
	}
	e.want(t, "connect tcp", "message P", "disconnect tcp")
}

func TestSilentClientIsAnnounced(t *testing.T) {
	t.Parallel()
	hub, e := record(echo)
	hub.OnConnect = func(w *Writer, c *Client) { e.note("connect " + c.Scheme()) }
	addr := serve(t, &Server{Hub: hub, SniffTimeout: 20 * time.Millisecond})
	c := dial(t, addr)
	e.want(t, "connect tcp")
	send(t, c, "x y\n")
	expect(t, c, "x y\n")
	c.Close()
	e.want(t, "connect tcp", "message x y", "disconnect tcp")
}

// A raw client is taken for a browser only if its first line is a request line.
func TestRawGuard(t *testing.T) {
	t.Parallel()
	const request = "GET\t/ HTTP/1.1\n"
	for _, tt := range []struct {
		name  string
		allow bool
		in    string
		want  string
	}{
		{"telemetry", false, "temp: 3\nhost: pi4\n", "temp: 3\nhost: pi4\n"},
		{"a request line", false, request, "HTTP/1.1 400 Bad"},
		{"a request line that is allowed", true, request, request},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hub, _ := record(echo)
			c := dial(t, serve(t, &Server{Hub: hub, AllowRawHTTP: tt.allow}))
			send(t, c, tt.in)
			expect(t, c, tt.want)
		})
	}
}
