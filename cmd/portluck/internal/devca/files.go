package devca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// The files in the directory of a CA.
const (
	certFile = "ca.pem"
	keyFile  = "ca-key.pem"
	lockName = "lock" // held by the process that makes a CA
)

// open reads the CA. It makes one if there is none, or if it expires soon or is not valid yet. Only
// the holder of the lock writes. It writes the key before the certificate, so that the directory
// never has a certificate without its key.
func (ca *CA) open() error {
	err := ca.load()
	if isAbsent(err) {
		err = ca.replace()
	}
	if err != nil {
		return fmt.Errorf("development CA: %w", err)
	}
	return nil
}

// replace makes a new CA, unless another process has just made one.
func (ca *CA) replace() error {
	if err := os.MkdirAll(ca.dir, 0o700); err != nil {
		return fmt.Errorf("%w; --config-dir keeps it elsewhere", err)
	}
	lock, err := os.OpenFile(filepath.Join(ca.dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("%w; --config-dir keeps it elsewhere", err)
	}
	defer lock.Close()
	if err := lockFile(lock); err != nil {
		return fmt.Errorf("%s: %w; --config-dir keeps it elsewhere", lock.Name(), err)
	}
	err = ca.load()
	if isAbsent(err) {
		return ca.create()
	}
	return err
}

// errNotNow means that the CA is not valid yet, or would expire before a certificate that it signs
// now.
var errNotNow = errors.New("it is not valid now, or expires soon")

func isAbsent(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotNow) }

// load reads the certificate first, and checks its dates before it reads the key: if the
// certificate has expired, another process may already have replaced the key (see open). If load
// fails, it leaves ca as it is.
func (ca *CA) load() error {
	path := filepath.Join(ca.dir, keyFile)
	der, err := ca.readPEM(certFile, "CERTIFICATE")
	if err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(der)
	switch {
	case err != nil || !cert.IsCA:
		return ca.broken(ca.File()+" has no certificate of a CA", err)
	case !ca.lasts(cert, leafTime):
		return errNotNow
	}
	keyDER, err := ca.readPEM(keyFile, "EC PRIVATE KEY")
	if err != nil {
		return err
	}
	key, err := x509.ParseECPrivateKey(keyDER)
	if err != nil {
		return ca.broken(path+" has no key", err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return ca.broken(path+" is not the key of "+ca.File(), nil)
	}
	if err := checkPrivate(path); err != nil {
		return err
	}
	ca.cert, ca.key = cert, key
	return nil
}

// broken returns an error that says what is wrong with the files and what to do about it.
func (ca *CA) broken(what string, err error) error {
	if err != nil {
		what += ": " + err.Error()
	}
	return fmt.Errorf("%s; remove %s and %s to have new ones made", what, ca.File(), filepath.Join(ca.dir, keyFile))
}

// readPEM returns the first PEM block of a file, which must be of this kind.
func (ca *CA) readPEM(name, kind string) ([]byte, error) {
	path := filepath.Join(ca.dir, name)
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w; make it readable, or keep another with --config-dir", err)
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != kind {
		return nil, ca.broken(fmt.Sprintf("%s does not begin with a PEM block %q", path, kind), nil)
	}
	return block.Bytes, nil
}

// checkPrivate returns an error if others may read the key: they could pretend to be any server to
// clients that trust the CA.
func checkPrivate(path string) error {
	fi, err := os.Stat(path)
	if err != nil || runtime.GOOS == "windows" || fi.Mode().Perm()&0o077 == 0 {
		return err
	}
	return fmt.Errorf("others may read %s (mode %04o); chmod 600 it, or remove it to have a new CA made", path, fi.Mode().Perm())
}

// create makes a new CA, writes it to its files, and loads it.
func (ca *CA) create() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template, err := newTemplate(pkix.Name{CommonName: caName(hostName(os.Hostname))}, ca.now(), caTime)
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
	if err := ca.writePEM(keyFile, "EC PRIVATE KEY", der, 0o600); err != nil {
		return err
	}
	if err := ca.writePEM(certFile, "CERTIFICATE", cert, 0o644); err != nil {
		return err
	}
	return ca.load()
}

// caName returns the name of the CA of the machine called host, cut to the 64 characters that a
// name may have (RFC 5280, appendix A.1).
func caName(host string) string {
	name := "portluck development CA"
	if host != "" {
		name += " of " + host
	}
	return name[:min(len(name), 64)]
}

// writePEM replaces a file atomically.
func (ca *CA) writePEM(name, kind string, der []byte, mode fs.FileMode) error {
	tmp, err := os.CreateTemp(ca.dir, name+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	err = errors.Join(tmp.Chmod(mode), pem.Encode(tmp, &pem.Block{Type: kind, Bytes: der}), tmp.Close())
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), filepath.Join(ca.dir, name))
}
