package tlsd_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/tlsd"
)

// goroutines takes the place of the port, which in a program is a portluck.Server.
type goroutines struct {
	handlers.Port
	wg     sync.WaitGroup
	failed error
}

func (g *goroutines) Go(f func())                      { g.wg.Go(f) }
func (g *goroutines) Fail(_ *handlers.Info, err error) { g.failed = err }

// accepted takes the place of a connection that the port has accepted.
type accepted struct{ net.Conn }

func (a accepted) Info() *handlers.Info       { return &handlers.Info{} }
func (a accepted) NetConn() (net.Conn, error) { return a.Conn, nil }

// development makes a certificate for localhost in two PEM files.
func development(dir string) (cert, key string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().AddDate(0, 0, 14),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return "", "", err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", err
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return "", "", err
	}
	return cert, key, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600)
}

// The program's own protocol behind TLS, with its own protocol id. The certificate may be renewed
// while it runs.
func ExampleHandler() {
	dir, err := os.MkdirTemp("", "tlsd")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	cert, key, err := development(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	certs, err := tlsd.LoadFiles(cert, key)
	if err != nil {
		fmt.Println(err)
		return
	}
	greet := handlers.HandlerFunc(func(c handlers.Conn, _ handlers.Port) {
		defer c.Close()
		if nc, err := c.NetConn(); err == nil {
			fmt.Fprintf(nc, "hello, client of %s\n", c.Info().Protocol)
		}
	})
	h := &tlsd.Handler{
		Config: &tls.Config{GetCertificate: certs.GetCertificate},
		ALPN:   map[string]handlers.Handler{"greet/1": greet},
	}

	var port goroutines
	for _, offer := range []string{"greet/1", "ftp"} {
		client, server := net.Pipe()
		h.Serve(accepted{server}, &port)
		tc := tls.Client(client, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{offer}})
		got, err := io.ReadAll(tc)
		fmt.Printf("%s: %q %v\n", offer, got, err)
		client.Close()
		port.wg.Wait()
	}
	fmt.Println(port.failed)
	// Output:
	// greet/1: "hello, client of greet/1\n" <nil>
	// ftp: "" remote error: tls: no application protocol
	// TLS handshake: no handler for the protocols that the client offers: refused (tls: client requested unsupported application protocols (["ftp"]))
}

func ExampleLoadFiles() {
	certs, err := tlsd.LoadFiles("testdata/absent.pem", "testdata/absent.key")
	fmt.Println(certs == nil, err)
	// Output: true certificate: stat testdata/absent.pem: no such file or directory
}

func ExampleRequireTLS() {
	client, server := net.Pipe()
	defer client.Close()
	var port goroutines
	tlsd.RequireTLS.Serve(accepted{server}, &port)
	fmt.Fprint(client, "GET / HTTP/1.1\r\nHost: localhost:8100\r\n\r\n")
	resp, _ := http.ReadResponse(bufio.NewReader(client), nil)
	body, _ := io.ReadAll(resp.Body)
	fmt.Printf("%s\n%s", resp.Status, body)
	port.wg.Wait()
	fmt.Println(port.failed)
	// Output:
	// 400 Bad Request
	// This port speaks TLS only. Try https://localhost:8100/
	// plain HTTP on a port that speaks TLS only: refused
}
