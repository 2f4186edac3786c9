package mesh

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/portluck/portluck/handlers"
)

const minKey = 16 // bytes

// keyRounds stretch a key that somebody has made up: each guess of one who connects costs that
// much. The tests have less.
var keyRounds = 600_000

// security is how nodes with Key or Identity know each other: TLS 1.3 in which both sides have a
// certificate. With a Key it is signed by an authority whose private key is derived from it, so
// that who knows the Key can make one, and nobody else. With an Identity the id is the fingerprint
// of the certificate's key, which must be of Trust.
type security struct {
	cert  tls.Certificate
	root  ed25519.PublicKey // of the Key's authority; nil without one
	trust []string          // ids; nil without Identity
}

// newSecurity makes the node's certificate. It is nil without Key and Identity.
func (n *Node) newSecurity(name, id string) (*security, error) {
	switch {
	case n.Identity == nil && len(n.Trust) > 0:
		return nil, errors.New("mesh: Trust needs an Identity: without it an id proves nothing")
	case n.Identity == nil && len(n.Key) == 0:
		return nil, nil
	case n.Identity != nil && len(n.Trust) == 0:
		return nil, errors.New("mesh: Identity without Trust: no other node could join")
	case len(n.Key) > 0 && len(n.Key) < minKey:
		return nil, fmt.Errorf("mesh: a Key of %d bytes is too short: %d are needed, random ones", len(n.Key), minKey)
	}
	s := &security{}
	for _, t := range n.Trust {
		if err := CheckID(t); err != nil {
			return nil, fmt.Errorf("%w (of Trust)", err)
		}
		s.trust = append(s.trust, strings.ToUpper(t))
	}
	own := n.Identity
	if own == nil {
		_, own, _ = ed25519.GenerateKey(rand.Reader) // never fails
	}
	signer := own
	if len(n.Key) > 0 {
		seed, err := pbkdf2.Key(sha256.New, string(n.Key), []byte("portluck mesh "+strings.ToLower(name)), keyRounds, ed25519.SeedSize)
		if err != nil {
			return nil, fmt.Errorf("mesh: %w", err)
		}
		signer = ed25519.NewKeyFromSeed(seed)
		s.root = signer.Public().(ed25519.PublicKey)
	}
	err := s.certify(id, own, signer)
	return s, err
}

// certify makes a certificate that says that the node with this id has the key own.
func (s *security) certify(id string, own, signer ed25519.PrivateKey) error {
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: id},
		NotBefore:    time.Unix(0, 0), // nobody looks: a machine of the mesh may not know the time
		NotAfter:     time.Unix(1<<32, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	issuer := &x509.Certificate{Subject: pkix.Name{CommonName: "mesh"}, PublicKey: signer.Public()}
	der, err := x509.CreateCertificate(rand.Reader, leaf, issuer, own.Public(), signer)
	if err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	s.cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: own}
	return nil
}

func (s *security) config() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{s.cert},
		ClientAuth:             tls.RequireAnyClientCert,
		InsecureSkipVerify:     true, // of names and authorities: VerifyConnection is what verifies
		NextProtos:             []string{ALPN},
		SessionTicketsDisabled: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, err := s.verify(cs)
			return err
		},
	}
}

// verify returns the id that the peer has proven to have.
func (s *security) verify(cs tls.ConnectionState) (string, error) {
	if len(cs.PeerCertificates) != 1 || cs.NegotiatedProtocol != ALPN {
		return "", fmt.Errorf("no certificate of a node: %w", handlers.ErrPolicy)
	}
	leaf := cs.PeerCertificates[0]
	key, ok := leaf.PublicKey.(ed25519.PublicKey)
	id := leaf.Subject.CommonName
	if !ok || CheckID(id) != nil || leaf.SignatureAlgorithm != x509.PureEd25519 {
		return "", fmt.Errorf("no certificate of a node: %w", handlers.ErrPolicy)
	}
	if s.root != nil && (bytes.Equal(key, s.root) || !ed25519.Verify(s.root, leaf.RawTBSCertificate, leaf.Signature)) {
		return "", fmt.Errorf("it does not know the key of this mesh: %w", handlers.ErrPolicy)
	}
	if s.trust != nil && (IdentityID(key) != id || !slices.Contains(s.trust, id)) {
		return "", fmt.Errorf("%s is not trusted: %w", IdentityID(key), handlers.ErrPolicy)
	}
	return id, nil
}

// client and server make nc secure. They return the id of the peer.
func (s *security) client(ctx context.Context, nc net.Conn, want string) (net.Conn, string, error) {
	c := tls.Client(nc, s.config())
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, "", err
	}
	id, err := s.verify(c.ConnectionState())
	if err == nil && want != "" && id != want {
		err = fmt.Errorf("it is %s, not %s: %w", id, want, handlers.ErrPolicy)
	}
	return c, id, err
}

func (s *security) server(ctx context.Context, nc net.Conn) (net.Conn, string, error) {
	c := tls.Server(nc, s.config())
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, "", err
	}
	id, err := s.verify(c.ConnectionState())
	return c, id, err
}
