package portluck_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/matchers"
	"github.com/portluck/portluck/portluck"
)

// A backend is the address of a server to which connections are passed on unchanged.
type backend string

// serve copies bytes in both directions until both sides have ended. It is for
// [portluck.Server.HandleFunc], which closes c.
func (b backend) serve(c net.Conn) {
	up, err := net.Dial("tcp", string(b))
	if err != nil {
		return
	}
	defer up.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		pass(up, c)
	}()
	pass(c, up)
	<-ended
}

// pass copies from from to to, and passes on the end, because one half of a connection may be
// closed before the other.
func pass(to, from net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		to.Close() // the connection is broken: end the other half too
		from.Close()
		return
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
}

// Serve does the same for a silent connection: an SSH client may wait for the server's first line.
func (b backend) Serve(c handlers.Conn, p handlers.Port) {
	p.Go(func() {
		defer c.Close()
		if nc, err := c.NetConn(); err == nil {
			b.serve(nc)
		}
	})
}

// splitter returns one port for three servers, as sslh does: ssh, https, whose TLS is passed on
// unchanged, and http. It closes connections of other protocols.
func splitter(ssh, https, http backend) *portluck.Server {
	server := &portluck.Server{OnUnmatched: handlers.Refuse, OnSilence: ssh}
	server.HandleFunc("ssh", matchers.SSH(), ssh.serve)
	server.HandleFunc("https", matchers.TLS(), https.serve)
	server.HandleFunc("web", matchers.HTTP1(), http.serve)
	return server
}

// A port that passes ssh, https and http on to servers of their own.
func Example_splitter() {
	answer := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, text) })
	}
	web, secure := httptest.NewServer(answer("plain")), httptest.NewTLSServer(answer("secure"))
	defer web.Close()
	defer secure.Close()
	ssh, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer ssh.Close()
	go func() { // ends with ssh
		for {
			c, err := ssh.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "SSH-2.0-server\r\n")
			c.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, c) // until the client has left
			c.Close()
		}
	}()

	start := func(patience time.Duration) (addr string, end func() error) {
		server := splitter(backend(ssh.Addr().String()), backend(secure.Listener.Addr().String()),
			backend(web.Listener.Addr().String()))
		server.SniffTimeout = patience
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		go server.Serve(l) // ends with Close
		return l.Addr().String(), server.Close
	}
	addr, end := start(0)
	defer end()
	impatient, end := start(100 * time.Millisecond)
	defer end()

	for _, client := range []struct {
		*http.Client
		url string
	}{{web.Client(), "http://" + addr}, {secure.Client(), "https://" + addr}} {
		response, err := client.Get(client.url)
		if err != nil {
			panic(err)
		}
		io.Copy(printed{}, response.Body)
		response.Body.Close()
	}
	for _, client := range []struct{ addr, says string }{
		{addr, "SSH-2.0-client\r\n"}, {impatient, ""}, {addr, "what is this?\n"},
	} {
		c, err := net.Dial("tcp", client.addr)
		if err != nil {
			panic(err)
		}
		io.WriteString(c, client.says)
		all, _ := io.ReadAll(c)
		fmt.Printf("%q: %q\n", client.says, all)
		c.Close()
	}
	// Output:
	// plain
	// secure
	// "SSH-2.0-client\r\n": "SSH-2.0-server\r\n"
	// "": "SSH-2.0-server\r\n"
	// "what is this?\n": ""
}

type printed struct{}

func (printed) Write(p []byte) (int, error) { return fmt.Print(string(p)) }
