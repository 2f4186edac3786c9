package tlsd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// port has the methods of a port that a handler of this package calls.
type port struct {
	handlers.Port // nil, so that any other call panics
	wg            sync.WaitGroup
	routed        chan handlers.Conn

	mu     sync.Mutex
	failed []error
	info   *handlers.Info // of the last failure
}

func newPort() *port { return &port{routed: make(chan handlers.Conn, 1)} }

func (p *port) Go(f func())           { p.wg.Go(f) }
func (p *port) Route(c handlers.Conn) { p.routed <- c }

func (p *port) Fail(info *handlers.Info, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed, p.info = append(p.failed, err), info
}

// err waits for the handler's goroutines, and returns the failure, of which there must be at most
// one.
func (p *port) err(tb testing.TB) error {
	tb.Helper()
	p.wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch len(p.failed) {
	case 0:
		return nil
	case 1:
		return p.failed[0]
	}
	tb.Fatalf("Fail was called %d times: %v", len(p.failed), p.failed)
	return nil
}

// conn is a connection as the port passes it to a handler.
type conn struct {
	nc     net.Conn
	info   handlers.Info
	closed chan struct{}
	once   sync.Once
}

func newConn(nc net.Conn) *conn { return &conn{nc: nc, closed: make(chan struct{})} }

func (c *conn) Info() *handlers.Info       { return &c.info }
func (c *conn) NetConn() (net.Conn, error) { return c.nc, nil }

func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.nc.Close()
}

// open reports whether the connection is not closed.
func (c *conn) open() bool {
	select {
	case <-c.closed:
		return false
	default:
		return true
	}
}

// serve makes h serve one end of an in-memory connection and returns the other.
func serve(tb testing.TB, h handlers.Handler) (net.Conn, *conn, *port) {
	tb.Helper()
	client, server := net.Pipe()
	c, p := newConn(server), newPort()
	tb.Cleanup(func() {
		client.Close()
		c.Close()
		p.wg.Wait()
	})
	h.Serve(c, p)
	return client, c, p
}

// serveTCP is serve over a real socket.
func serveTCP(tb testing.TB, h handlers.Handler) (*net.TCPConn, *conn, *port) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	c, p := newConn(server), newPort()
	tb.Cleanup(func() {
		client.Close()
		c.Close()
		p.wg.Wait()
	})
	h.Serve(c, p)
	return client.(*net.TCPConn), c, p
}

// echo is an inner handler that sends back what it reads, and shows its connections to the test.
type echo struct{ served chan handlers.Conn }

func newEcho() *echo { return &echo{served: make(chan handlers.Conn, 1)} }

func (e *echo) Serve(c handlers.Conn, p handlers.Port) {
	e.served <- c
	p.Go(func() { // ends when the client closes
		defer c.Close()
		nc, err := c.NetConn()
		if err != nil {
			return
		}
		buf := make([]byte, 1<<10)
		for {
			n, err := nc.Read(buf)
			if err != nil {
				return
			}
			if _, err := nc.Write(buf[:n]); err != nil {
				return
			}
		}
	})
}

// newCert makes a self-signed certificate for names.
func newCert(tb testing.TB, names ...string) tls.Certificate {
	tb.Helper()
	certPEM, keyPEM := newPEM(tb, names...)
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

func newPEM(tb testing.TB, names ...string) (cert, key []byte) {
	tb.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		tb.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func newConfig(tb testing.TB) *tls.Config {
	tb.Helper()
	return &tls.Config{Certificates: []tls.Certificate{newCert(tb, "localhost")}}
}

func writeFile(tb testing.TB, path string, data []byte) {
	tb.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		tb.Fatal(err)
	}
}
