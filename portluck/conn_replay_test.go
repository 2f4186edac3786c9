package portluck

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/portluck/portluck/matchers"
)

// secureConn is what servers look for in a connection inside TLS.
type secureConn interface {
	net.Conn
	ConnectionState() tls.ConnectionState
	NetConn() net.Conn
	CloseWrite() error
}

// A connection that the program gets inside TLS has the methods of a *tls.Conn, whether or not
// first bytes were read, from Listen, HandleFunc and a hijacked request.
func TestSecureConns(t *testing.T) {
	t.Parallel()
	config := withTLS()
	config.ClientAuth = tls.RequireAnyClientCert
	got := make(chan net.Conn, 1)
	accept := func(l net.Listener) {
		go func() { // ends with the server
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				got <- c
			}
		}()
	}
	released := make(chan struct{})
	handed := func(c net.Conn) { got <- c; <-released }
	s := &Server{TLSConfig: config, Hub: &Hub{}}
	s.HandleFunc("func", matchers.Prefix("FUNC"), handed)
	accept(s.Listen("listen", matchers.Prefix("LIST")))
	s.Mount("/", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		got <- c
	}))
	all := &Server{TLSConfig: config, Hub: &Hub{}}
	inside := matchers.MatcherFunc(func(h matchers.Hello) matchers.Verdict {
		if h.TLS == nil {
			return matchers.No
		}
		return matchers.Yes
	})
	accept(all.Listen("any", inside))
	addr, addrAny := serve(t, s), serve(t, all)
	const page = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
	for _, tt := range []struct {
		name, addr, first string
		alpn              []string
		unread            string
	}{
		{"HandleFunc", addr, "FUNC of yours", nil, "FUNC of yours"},
		{"Listen", addr, "LISTEN to me", nil, "LISTEN to me"},
		{"nothing was read", addrAny, "hello", nil, "hello"},
		{"hijacked, ALPN", addr, page, []string{"http/1.1"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := tls.Client(dial(t, tt.addr), &tls.Config{
				InsecureSkipVerify: true, NextProtos: tt.alpn, Certificates: config.Certificates,
			})
			send(t, client, tt.first)
			nc := <-got
			defer nc.Close()
			c, ok := nc.(secureConn)
			if !ok {
				t.Fatalf("%T is no *tls.Conn to anybody", nc)
			}
			if state := c.ConnectionState(); !state.HandshakeComplete || len(state.PeerCertificates) != 1 {
				t.Errorf("ConnectionState() = %+v", state)
			}
			if c.NetConn() == nil {
				t.Error("NetConn() = nil")
			}
			b := make([]byte, len(tt.unread))
			if _, err := io.ReadFull(c, b); err != nil || string(b) != tt.unread {
				t.Errorf("reads %q, %v, want %q", b, err, tt.unread)
			}
			io.WriteString(c, "bye")
			if err := c.CloseWrite(); err != nil {
				t.Errorf("CloseWrite() = %v", err)
			}
			if b, err := io.ReadAll(client); string(b) != "bye" || err != nil {
				t.Errorf("the client reads %q, %v", b, err)
			}
			send(t, client, "still")
			expect(t, c, "still")
		})
	}
	close(released)
}

// A server of net/http on a listener of the port knows its clients' certificates.
func TestListenTLSRequest(t *testing.T) {
	t.Parallel()
	config := withTLS()
	config.ClientAuth = tls.RequireAnyClientCert
	s := &Server{TLSConfig: config, Hub: &Hub{}}
	l := s.Listen("web", matchers.HTTP1())
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || len(r.TLS.PeerCertificates) != 1 {
			t.Errorf("Request.TLS = %+v", r.TLS)
		}
		io.WriteString(w, "of the program")
	})}
	go web.Serve(l) // ends with Close
	t.Cleanup(func() { web.Close() })
	client := tls.Client(dial(t, serve(t, s)), &tls.Config{InsecureSkipVerify: true, Certificates: config.Certificates})
	send(t, client, "GET / HTTP/1.0\r\n\r\n")
	b, _ := io.ReadAll(client)
	if want := "of the program"; len(b) < len(want) || string(b[len(b)-len(want):]) != want {
		t.Errorf("reads %q", b)
	}
}
