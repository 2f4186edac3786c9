package portluck

import (
	"crypto/tls"
	"net"
	"testing"
)

// Info returns everything known about a client at any time, whatever the driver keeps.
func TestInfoOfDrivenClients(t *testing.T) {
	t.Parallel()
	hub, e := record(nil)
	look := func(when string, c *Client) {
		info := c.Info()
		path, secure := "", ""
		if r := c.Request(); r != nil {
			path = " " + r.URL.Path + " " + info.Request.URL.Path
			if r.RemoteAddr != c.Remote().String() || (r.TLS != nil) != (c.TLS() != nil) {
				path += " from somewhere else"
			}
		}
		if state := c.TLS(); state != nil {
			secure = " " + state.ServerName + " " + info.TLS.ServerName
		}
		if info.Protocol != c.Protocol() || info.Remote != c.Remote() || info.Local != c.Local() || !info.Remote.IsValid() {
			path += " of somebody else"
		}
		e.note(when + " " + c.Scheme() + secure + path)
	}
	hub.OnConnect = func(_ *Writer, c *Client) { look("connect", c) }
	hub.OnMessage = func(_ Message, _ *Writer, c *Client) { look("message", c) }
	hub.OnDisconnect = func(c *Client, _ error) { look("disconnect", c) }
	addr := serve(t, &Server{Hub: hub, TLSConfig: withTLS()})
	check := func(want string) {
		t.Helper()
		e.want(t, "connect "+want, "message "+want, "disconnect "+want)
		e.mu.Lock()
		e.seen = nil
		e.mu.Unlock()
	}
	talk(t, addr, "hello\n")
	check("tcp")
	secure := tls.Client(dial(t, addr), &tls.Config{InsecureSkipVerify: true, ServerName: "example.test"})
	send(t, secure, "hello\n")
	secure.Close()
	check("tls example.test example.test")
	for scheme, want := range map[string]string{"ws": "ws /a /a", "wss": "wss localhost localhost /a /a"} {
		_, port, _ := net.SplitHostPort(addr)
		c := dialWS(t, scheme+"://localhost:"+port+"/a?b")
		c.send(t, Text, "hello")
		c.close(t)
		check(want)
	}
}
