// Package devca is a certificate authority for development. It makes its own certificate, and one
// for this machine, so that TLS works at the first start.
package devca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Lifetimes of certificates.
const (
	caTime   = 10 * 365 * 24 * time.Hour
	leafTime = 14 * 24 * time.Hour
)

// A CA signs certificates for this machine. Its methods may be called concurrently.
type CA struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	now  func() time.Time

	mu   sync.Mutex
	leaf *tls.Certificate
}

// Open reads the CA in dir, or makes one there. Processes that open the same dir at once get the
// same CA. Only the owner can read dir and the key.
func Open(dir string) (*CA, error) {
	ca := &CA{dir: dir, now: time.Now}
	if err := ca.open(); err != nil {
		return nil, err
	}
	return ca, nil
}

// File returns the path of the CA's certificate in PEM, for clients to trust.
func (ca *CA) File() string { return filepath.Join(ca.dir, certFile) }

// GetCertificate returns the certificate of this machine, for [tls.Config]. It makes a new one if
// less than a third of the lifetime of the last one is left, if the last one is not valid yet, as
// after the clock was set back, or if it lacks the address that the client has connected to.
func (ca *CA) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	ip := localIP(hello)
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if ca.leaf != nil && ca.lasts(ca.leaf.Leaf, leafTime/3) && covers(ca.leaf.Leaf, ip) {
		return ca.leaf, nil
	}
	if !ca.lasts(ca.cert, leafTime) {
		if err := ca.open(); err != nil {
			return nil, err
		}
	}
	leaf, err := ca.sign(ip)
	if err != nil {
		return nil, err
	}
	ca.leaf = leaf
	return leaf, nil
}

// lasts reports whether cert is valid now and stays valid for this long.
func (ca *CA) lasts(cert *x509.Certificate, long time.Duration) bool {
	now := ca.now()
	return !now.Before(cert.NotBefore) && now.Add(long).Before(cert.NotAfter)
}

// localIP returns the IP address that the client has connected to, or nil if there is none.
func localIP(hello *tls.ClientHelloInfo) net.IP {
	if hello == nil || hello.Conn == nil {
		return nil
	}
	if addr, ok := hello.Conn.LocalAddr().(*net.TCPAddr); ok && addr != nil && isAddress(addr.IP) {
		return addr.IP
	}
	return nil
}

func covers(cert *x509.Certificate, ip net.IP) bool {
	return ip == nil || slices.ContainsFunc(cert.IPAddresses, ip.Equal)
}

// sign makes a certificate for this machine's names and addresses, and for ip unless it is nil.
func (ca *CA) sign(ip net.IP) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template, err := newTemplate(pkix.Name{CommonName: "localhost"}, ca.now(), leafTime)
	if err != nil {
		return nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	template.DNSNames, template.IPAddresses = names(os.Hostname, net.InterfaceAddrs)
	if !covers(template, ip) {
		template.IPAddresses = append(template.IPAddresses, ip)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, ca.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

func newTemplate(subject pkix.Name, now time.Time, valid time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber: serial, Subject: subject,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(valid),
	}, nil
}
