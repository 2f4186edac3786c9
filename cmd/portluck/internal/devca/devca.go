// Package devca is a certificate authority for development: it makes itself, and the certificate of this machine, so that
// TLS works at the first start.
package devca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// How long certificates are valid.
const (
	caTime   = 10 * 365 * 24 * time.Hour
	leafTime = 14 * 24 * time.Hour
)

// The files in the directory of a CA.
const (
	certFile = "ca.pem"
	keyFile  = "ca-key.pem"
)

// A CA signs certificates for this machine. Its methods may be called by any goroutine at any time.
type CA struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	now  func() time.Time

	mu   sync.Mutex
	leaf *tls.Certificate
}

// Open reads the CA that is kept in dir, or makes one and keeps it there. dir and the key are readable by their owner
// only.
func Open(dir string) (*CA, error) {
	ca := &CA{dir: dir, now: time.Now}
	err := ca.load()
	if errors.Is(err, fs.ErrNotExist) || err == nil && ca.now().After(ca.cert.NotAfter.Add(-leafTime)) {
		err = ca.create()
	}
	if err != nil {
		return nil, fmt.Errorf("development CA in %s: %w", dir, err)
	}
	return ca, nil
}

// File is the path of the CA's certificate in PEM, for clients to trust.
func (ca *CA) File() string { return filepath.Join(ca.dir, certFile) }

// GetCertificate returns the certificate of this machine, and renews it when less than a third of its time is left. It is
// for tls.Config.
func (ca *CA) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if ca.leaf != nil && ca.now().Before(ca.leaf.Leaf.NotAfter.Add(-leafTime/3)) {
		return ca.leaf, nil
	}
	leaf, err := ca.sign()
	if err != nil {
		return nil, err
	}
	ca.leaf = leaf
	return leaf, nil
}

func (ca *CA) load() error {
	cert, err := readPEM(ca.File())
	if err != nil {
		return err
	}
	key, err := readPEM(filepath.Join(ca.dir, keyFile))
	if err != nil {
		return err
	}
	if ca.cert, err = x509.ParseCertificate(cert); err != nil {
		return err
	}
	ca.key, err = x509.ParseECPrivateKey(key)
	return err
}

func readPEM(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s has no PEM block; remove it to have a new one made", path)
	}
	return block.Bytes, nil
}

// create makes a new CA. The key is written first: a certificate without its key would be of no use.
func (ca *CA) create() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	host, _ := os.Hostname()
	template, err := newTemplate(pkix.Name{CommonName: "portluck development CA of " + host}, ca.now(), caTime)
	if err != nil {
		return err
	}
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(ca.dir, 0o700); err != nil {
		return err
	}
	if err := writePEM(filepath.Join(ca.dir, keyFile), "EC PRIVATE KEY", der, 0o600); err != nil {
		return err
	}
	if err := writePEM(ca.File(), "CERTIFICATE", cert, 0o644); err != nil {
		return err
	}
	return ca.load()
}

// writePEM replaces a file, wholly or not at all.
func writePEM(path, kind string, der []byte, mode fs.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	err = errors.Join(tmp.Chmod(mode), pem.Encode(tmp, &pem.Block{Type: kind, Bytes: der}), tmp.Close())
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// sign makes a certificate of this machine's names and addresses.
func (ca *CA) sign() (*tls.Certificate, error) {
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
	template.DNSNames, template.IPAddresses = names()
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

// names are what this machine may be called.
func names() (dns []string, ips []net.IP) {
	dns = []string{"localhost"}
	if host, err := os.Hostname(); err == nil && host != "" && host != "localhost" {
		dns = append(dns, host)
	}
	ips = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return dns, ips
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() {
			ips = append(ips, n.IP)
		}
	}
	return dns, ips
}
