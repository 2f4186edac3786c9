package tcp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// agentJSON is OpenSSL's description of the certificate in testdata.
const agentJSON = `{"subject":"/C=UK/ST=Acknack Ltd/L=Rhys Jones/O=node.js/OU=Test TLS Certificate \\xC3\\xA9/CN=localhost/DC=example/1.2.3.4=x",` +
	`"issuer":"/C=UK/ST=Acknack Ltd/L=Rhys Jones/O=node.js/OU=Test TLS Certificate \\xC3\\xA9/CN=localhost/DC=example/1.2.3.4=x",` +
	`"valid_from":"Nov 11 09:52:22 2009 GMT","valid_to":"Sep  1 09:52:22 2109 GMT",` +
	`"fingerprint":"ED:5F:23:15:79:23:8D:40:68:92:46:C4:5A:DF:29:AA:D3:9E:6E:AB"}`

// agent returns the certificate in testdata, and a pool that has only that.
var agent = sync.OnceValues(func() (tls.Certificate, *x509.CertPool) {
	file, err := os.ReadFile("testdata/agent.pem")
	if err != nil {
		panic(err)
	}
	cert, err := tls.X509KeyPair(file, file)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	return cert, pool
})

func serverConfig(withCAs bool) *tls.Config {
	cert, pool := agent()
	c := &tls.Config{Certificates: []tls.Certificate{cert}}
	if withCAs {
		c.ClientCAs = pool
	}
	return c
}

func secure(t *testing.T, s *Stream, config *tls.Config) {
	t.Helper()
	if err := s.SetSecure(config); err != nil {
		t.Errorf("SetSecure() = %v", err)
	}
}

// errUnknown stands for [x509.UnknownAuthorityError].
var errUnknown = errors.New("unknown authority")

func wantPeer(t *testing.T, s *Stream, valid error, want string) {
	t.Helper()
	if err := s.VerifyPeer(); !errors.Is(err, valid) && (err == nil || valid != errUnknown || !errors.As(err, new(x509.UnknownAuthorityError))) {
		t.Errorf("VerifyPeer() = %v, want %v", err, valid)
	}
	cert, err := s.PeerCertificate()
	if got, _ := json.Marshal(cert); string(got) != want || err != nil {
		t.Errorf("PeerCertificate() = %s, %v, want %s", got, err, want)
	}
}

func TestNodeN9SecurePeers(t *testing.T) {
	cert, pool := agent()
	for _, tt := range []struct {
		name                 string
		withCAs              bool
		client               *tls.Config
		serverSees           string
		serverErr, clientErr error
	}{
		{"both show one", true, &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}, agentJSON, nil, nil},
		{"the name is checked", true, &tls.Config{RootCAs: pool, ServerName: "localhost", Certificates: []tls.Certificate{cert}}, agentJSON, nil, nil},
		{"the client has none", true, &tls.Config{RootCAs: pool}, "{}", ErrNoCertificate, nil},
		{"the server asks for none", false, &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}, "{}", ErrNoCertificate, nil},
		{"the client knows no authority", false, nil, "{}", ErrNoCertificate, errUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachDriver(t, func(t *testing.T) {
				server, client := newDiary(), newDiary()
				v := &Server{Events: server.events(), OnConnection: func(s *Stream) { secure(t, s, serverConfig(tt.withCAs)) }}
				server.do.OnSecure = func(s *Stream) { wantPeer(t, s, tt.serverErr, tt.serverSees) }
				server.do.OnData = func(s *Stream, p []byte) { s.Write(p) }
				client.do.OnConnect = func(s *Stream) {
					if err := s.VerifyPeer(); !errors.Is(err, ErrNotSecure) {
						t.Errorf("VerifyPeer() in the clear = %v", err)
					}
					if _, err := s.PeerCertificate(); !errors.Is(err, ErrNotSecure) {
						t.Errorf("PeerCertificate() in the clear = %v", err)
					}
					secure(t, s, tt.client)
					if write(t, s, "TEST") {
						t.Error("Write before the handshake says that it was sent")
					}
					if err := s.SetSecure(nil); !errors.Is(err, ErrSecure) {
						t.Errorf("SetSecure() again = %v, want ErrSecure", err)
					}
				}
				client.do.OnSecure = func(s *Stream) {
					wantPeer(t, s, tt.clientErr, agentJSON)
					write(t, s, "123")
				}
				client.do.OnData = func(s *Stream, _ []byte) {
					if client.received() == "TEST123" {
						s.End(nil)
					}
				}
				dial(t, client, "tcp", listen(t, v))
				client.closed(t)
				server.closed(t)
				client.got(t, "TEST123")
				for _, d := range []*diary{server, client} {
					all := d.all()
					if i, j := slices.Index(all, "connect"), slices.Index(all, "secure"); i != 0 || j != 1 || all[len(all)-1] != "close false" {
						t.Errorf("events %q", all)
					}
				}
			})
		})
	}
}

func TestNodeN14HTTPS(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		_, pool := agent()
		v := &Server{Events: answering(t), OnConnection: func(s *Stream) { secure(t, s, serverConfig(false)) }}
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "localhost"}}
		defer transport.CloseIdleConnections()
		getHello(t, transport, "https://"+listen(t, v))
	})
}

// STARTTLS: a stream is in the clear first, and then TLS. Bytes that an attacker injects after the
// command are not taken for TLS.
func TestStreamStartTLS(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		_, pool := agent()
		server := newDiary()
		server.do.OnData = func(s *Stream, p []byte) {
			if string(p) == "STARTTLS\r\n" {
				write(t, s, "220 go on\r\n")
				secure(t, s, serverConfig(false))
				return
			}
			write(t, s, strings.ToUpper(string(p)))
		}
		v := &Server{Events: server.events()}
		nc := plainDial(t, listen(t, v))
		mustWrite(t, nc, "ehlo\r\n")
		mustRead(t, nc, "EHLO\r\n")
		mustWrite(t, nc, "STARTTLS\r\n")
		mustRead(t, nc, "220 go on\r\n")
		tc := tls.Client(nc, &tls.Config{RootCAs: pool, ServerName: "localhost"})
		long := strings.Repeat("secret ", 100<<10)
		go func() { // ends when it is written
			mustWrite(t, tc, long)
			tc.CloseWrite()
		}()
		if got, err := io.ReadAll(tc); string(got) != strings.ToUpper(long) || err != nil {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
		server.closed(t)
		if all := server.all(); all[len(all)-1] != "close false" || !slices.Contains(all, "secure") {
			t.Errorf("events %s", brief(all))
		}
	})
}

// Only a close_notify ends a secure stream. FIN alone is an error, because an attacker can send it.
func TestStreamCut(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(tc *tls.Conn, nc *net.TCPConn)
		want []string
	}{
		{"close_notify", func(tc *tls.Conn, _ *net.TCPConn) { tc.CloseWrite() }, []string{"end", "close false"}},
		{"FIN", func(_ *tls.Conn, nc *net.TCPConn) { nc.CloseWrite() }, []string{"error unexpected EOF", "close true"}},
		{"half a record and FIN", func(_ *tls.Conn, nc *net.TCPConn) {
			io.WriteString(nc, "\x17\x03\x03")
			nc.CloseWrite()
		}, []string{"error unexpected EOF", "close true"}},
	} {
		for _, halfOpen := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				eachDriver(t, func(t *testing.T) {
					server := newDiary()
					server.do.OnEnd = func(s *Stream) { s.End(nil) }
					v := &Server{Events: server.events(), AllowHalfOpen: halfOpen, OnConnection: func(s *Stream) {
						secure(t, s, serverConfig(false))
					}}
					nc := plainDial(t, listen(t, v))
					tc := tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
					mustWrite(t, tc, "a")
					tt.end(tc, nc)
					server.closed(t)
					want := append([]string{"connect", "secure", "data a"}, tt.want...)
					if got := server.all(); !slices.Equal(got, want) {
						t.Errorf("half open %t: events %q, want %q", halfOpen, got, want)
					}
				})
			})
		}
	}
}

// A handshake that fails calls OnError and OnClose, also if the peer speaks in the clear, leaves or
// sends nothing.
func TestStreamHandshakeFails(t *testing.T) {
	for _, tt := range []struct {
		name string
		act  func(t *testing.T, nc *net.TCPConn)
		want string
	}{
		{"in the clear", func(t *testing.T, nc *net.TCPConn) { mustWrite(t, nc, "hello there\r\n") }, "first record does not look like a TLS handshake"},
		{"gone", func(_ *testing.T, nc *net.TCPConn) { nc.Close() }, "EOF"},
		{"silent", func(*testing.T, *net.TCPConn) {}, "deadline exceeded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachDriver(t, func(t *testing.T) {
				d := newDiary()
				v := &Server{Events: d.events(), HandshakeTimeout: soon, OnConnection: func(s *Stream) {
					secure(t, s, serverConfig(false))
					write(t, s, "never in the clear")
				}}
				if tt.name == "silent" {
					v.HandshakeTimeout = 200 * time.Millisecond
				}
				nc := plainDial(t, listen(t, v))
				tt.act(t, nc)
				if tt.name != "gone" {
					if got, _ := io.ReadAll(nc); strings.Contains(string(got), "clear") {
						t.Errorf("read %q", got)
					}
				}
				d.closed(t)
				all := d.all()
				if len(all) != 3 || !strings.HasPrefix(all[1], "error TLS handshake: ") || !strings.Contains(all[1], tt.want) || all[2] != "close true" {
					t.Errorf("events %q, want an error with %q", all, tt.want)
				}
			})
		})
	}
}

// A client whose config names the server refuses a certificate for another one.
func TestStreamWrongName(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		_, pool := agent()
		v := &Server{OnConnection: func(s *Stream) { secure(t, s, serverConfig(false)) }}
		d := newDiary()
		d.do.OnConnect = func(s *Stream) { secure(t, s, &tls.Config{RootCAs: pool, ServerName: "example.com"}) }
		dial(t, d, "tcp", listen(t, v))
		d.closed(t)
		if all := d.all(); len(all) != 3 || !strings.Contains(all[1], "certificate is valid for localhost") {
			t.Errorf("events %q", all)
		}
	})
}

// Destroy during the handshake ends the stream without an error.
func TestStreamDestroyInHandshake(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		d := newDiary()
		shaking := make(chan *Stream, 1)
		config := serverConfig(false)
		config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			(<-shaking).Destroy()
			return nil, nil
		}
		v := &Server{Events: d.events(), OnConnection: func(s *Stream) {
			secure(t, s, config)
			shaking <- s
		}}
		nc := plainDial(t, listen(t, v))
		if err := tls.Client(nc, &tls.Config{InsecureSkipVerify: true}).Handshake(); err == nil {
			t.Error("the handshake was completed")
		}
		d.wants(t, "connect", "close false")
	})
}

// Pause and End before the handshake take effect after it.
func TestStreamSecureKeepsState(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		d := newDiary()
		streams := make(chan *Stream, 1)
		v := &Server{Events: d.events(), OnConnection: func(s *Stream) {
			secure(t, s, serverConfig(false))
			s.Pause()
			s.SetTimeout(300 * time.Millisecond)
			s.End([]byte("bye"))
			if err := s.SetSecure(nil); !errors.Is(err, handlers.ErrClosed) {
				t.Errorf("SetSecure() after End = %v", err)
			}
			streams <- s
		}}
		tc := tls.Client(plainDial(t, listen(t, v)), &tls.Config{InsecureSkipVerify: true})
		mustRead(t, tc, "bye")
		mustWrite(t, tc, "unread")
		d.has(t, "timeout")
		if d.received() != "" {
			t.Errorf("received %q while it was paused", d.received())
		}
		(<-streams).Resume()
		d.got(t, "unread")
		tc.Close()
		d.closed(t)
	})
}

// A callback of the configuration that waits for the handshake's context returns at the deadline,
// when the stream is destroyed, and when the server shuts down.
func TestStreamHandshakeContextEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		timeout time.Duration
		end     func(t *testing.T, v *Server, s *Stream)
		want    []string
	}{
		"deadline": {200 * time.Millisecond, func(*testing.T, *Server, *Stream) {}, []string{"error TLS handshake: context deadline exceeded", "close true"}},
		"Destroy":  {-1, func(_ *testing.T, _ *Server, s *Stream) { s.Destroy() }, []string{"close false"}},
		"Shutdown": {-1, func(t *testing.T, v *Server, _ *Stream) {
			if err := v.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown() = %v", err)
			}
		}, nil},
		"Shutdown that is late": {-1, func(t *testing.T, v *Server, _ *Stream) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := v.Shutdown(ctx); err == nil {
				t.Error("Shutdown() = nil")
			}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			eachDriver(t, func(t *testing.T) {
				for bound := tt.timeout; !handshakeContextEnds(t, bound, tt.end, tt.want); bound *= 2 {
				}
			})
		})
	}
}

// handshakeContextEnds returns false if the machine was too busy to call the callback within
// timeout.
func handshakeContextEnds(t *testing.T, timeout time.Duration, end func(t *testing.T, v *Server, s *Stream), want []string) bool {
	t.Helper()
	d := newDiary()
	shaking, returned := make(chan *Stream, 2), make(chan struct{})
	config := serverConfig(false)
	config.GetConfigForClient = func(i *tls.ClientHelloInfo) (*tls.Config, error) {
		defer close(returned)
		shaking <- nil
		<-i.Context().Done()
		return nil, i.Context().Err()
	}
	var stream *Stream
	v := &Server{Events: d.events(), HandshakeTimeout: timeout, OnConnection: func(s *Stream) {
		stream = s
		secure(t, s, config)
	}}
	nc := plainDial(t, listen(t, v))
	go tls.Client(nc, &tls.Config{InsecureSkipVerify: true}).Handshake() // ends with the connection
	within(t, "the callback, or the end", func() bool { return len(shaking) > 0 || slices.Contains(d.all(), "close true") })
	if len(shaking) == 0 {
		return false
	}
	<-shaking
	end(t, v, stream)
	<-returned
	d.closed(t)
	if all := d.all(); want != nil && !slices.Equal(all[1:], want) {
		t.Errorf("events %q, want %q", all[1:], want)
	}
	return true
}
