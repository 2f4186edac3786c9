package portluck

import (
	"net"
	"net/http"
	"testing"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/matchers"
)

// A connection has its remote address even if the client has reset it before the program gets it: a
// program that logs the address calls its String.
func TestResetConnHasAddress(t *testing.T) {
	t.Parallel()
	for name, route := range map[string]func(s *Server, got chan<- net.Conn){
		"Handle": func(s *Server, got chan<- net.Conn) {
			s.Handle("mine", matchers.Prefix("GET"), handlers.HandlerFunc(func(c handlers.Conn, _ handlers.Port) {
				nc, err := c.NetConn()
				if err != nil {
					t.Error(err)
				}
				got <- nc
			}))
		},
		"HandleFunc": func(s *Server, got chan<- net.Conn) {
			s.HandleFunc("mine", matchers.Prefix("GET"), func(nc net.Conn) {
				got <- nc
				<-s.ShuttingDown() // it is closed then
			})
		},
		"Listen": func(s *Server, got chan<- net.Conn) {
			l := s.Listen("mine", matchers.Prefix("GET"))
			go func() { // ends with the connection
				nc, err := l.Accept()
				if err != nil {
					t.Error(err)
				}
				got <- nc
			}()
		},
		"Hijack": func(s *Server, got chan<- net.Conn) {
			s.Mount("/", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				nc, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
				}
				got <- nc
			}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clients := make(chan *net.TCPConn, 1)
			s := &Server{OnVerdict: func(Verdict) {
				client := <-clients
				_ = client.SetLinger(0)
				_ = client.Close() // with a reset
			}}
			got := make(chan net.Conn, 1)
			route(s, got)
			addr := serve(t, s)
			client := dial(t, addr)
			clients <- client
			want := client.LocalAddr().String()
			send(t, client, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
			nc := <-got
			defer nc.Close()
			if a := nc.RemoteAddr(); a == nil || a.String() != want {
				t.Errorf("RemoteAddr() = %v, want %v", a, want)
			}
			if a := nc.LocalAddr(); a == nil || a.String() != addr {
				t.Errorf("LocalAddr() = %v, want %v", a, addr)
			}
			if _, ok := nc.(interface{ CloseWrite() error }); !ok {
				t.Errorf("%T has no CloseWrite", nc)
			}
			b := make([]byte, 3)
			if n, err := nc.Read(b); name != "Hijack" && (err != nil || string(b[:n]) != "GET") {
				t.Errorf("Read = %q, %v", b[:n], err)
			}
		})
	}
}
