package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"time"

	"golang.org/x/sys/unix"
)

// An endpoint is a listener and the protocol to serve on it until the process ends.
type endpoint struct {
	net.Listener
	proto string
	tls   *tls.Config // if proto is secure or mixed
}

// servers are portluck and its peers.
var servers = map[string]func(endpoint) error{
	"portluck":   servePortluck,
	"goroutines": serveGoroutines,
	"bare":       serveBare,
	"gws":        serveGWS,
	"gorilla":    serveGorilla,
	"gobwas":     serveGobwas,
	"nethttp":    serveNetHTTP,
}

// secured returns the listener, wrapped in TLS if the protocol is.
func (e endpoint) secured() net.Listener {
	if !isSecure(e.proto) {
		return e.Listener
	}
	return tls.NewListener(e.Listener, e.tls)
}

// served is the state of a child process with a server.
type served struct {
	addr    string
	socket  int // a duplicate of the listener's descriptor, for its server may close the listener
	profile *os.File
}

// newServed starts the server. If the server fails, the process exits.
func newServed(name, proto string) *served {
	serve := servers[name]
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err == nil && serve == nil {
		err = errors.New("no such server")
	}
	socket := -1
	if err == nil {
		socket, err = duplicate(l)
	}
	e := endpoint{Listener: l, proto: proto}
	if err == nil && (isSecure(proto) || proto == mixed) {
		e.tls, err = newTLS()
	}
	if err != nil {
		fail(name, err)
	}
	go func() { fail(name, serve(e)) }() // ends with the process
	return &served{addr: l.Addr().String(), socket: socket}
}

// duplicate returns a duplicate of the descriptor of l, unknown to Go's poller.
func duplicate(l net.Listener) (socket int, err error) {
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		return -1, err
	}
	failed := raw.Control(func(fd uintptr) {
		socket, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	})
	return socket, errors.Join(failed, err)
}

func fail(name string, err error) {
	fmt.Fprintf(os.Stderr, "bench: %s: %v\n", name, err)
	os.Exit(1)
}

func (s *served) do(q request) (answer, error) {
	switch q.Do {
	case "addr":
		return answer{Addr: s.addr}, s.limit(q.Keep)
	case "goroutines":
		return answer{Goroutines: runtime.NumGoroutine()}, nil
	case "collect":
		return collect(), nil
	case "profile":
		return answer{}, s.record(q.Path)
	case "heap":
		return answer{}, heap(q.Path)
	}
	return answer{}, errors.New("no such request")
}

// limit sets the send buffer of future connections to n bytes, if n is not 0.
func (s *served) limit(n int) error {
	if n == 0 {
		return nil
	}
	return unix.SetsockoptInt(s.socket, unix.SOL_SOCKET, unix.SO_SNDBUF, n)
}

// record begins a CPU profile, or ends it if path is empty.
func (s *served) record(path string) (err error) {
	if path == "" {
		pprof.StopCPUProfile()
		return s.profile.Close()
	}
	if s.profile, err = os.Create(path); err != nil {
		return err
	}
	return pprof.StartCPUProfile(s.profile)
}

// heap writes a heap profile.
func heap(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("heap").WriteTo(f, 0), f.Close())
}

// collect collects garbage, returns free memory to the kernel, and returns what is left.
func collect() answer {
	runtime.GC() // the first one finds what a finalizer or a pool held
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return answer{
		Live: int64(m.HeapAlloc), Stacks: int64(m.StackInuse), //nolint:gosec // less than an exbibyte
		Goroutines: runtime.NumGoroutine(),
	}
}

// newTLS makes a certificate that nobody checks.
func newTLS() (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now, NotAfter: now.Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, nil
}
