package mesh

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// idLen is how many digits the ids have that are made: as many as upstream's.
const idLen = 52

// NewID returns a random id of 52 hexadecimal digits in upper case.
func NewID() string {
	var b [idLen / 2]byte
	_, _ = rand.Read(b[:]) // never fails
	return strings.ToUpper(hex.EncodeToString(b[:]))
}

// IdentityID returns the id of the node that has this key: the first 208 bits of the SHA-256 of the
// key, as 52 hexadecimal digits.
func IdentityID(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return strings.ToUpper(hex.EncodeToString(sum[:idLen/2]))
}

// CheckName returns an error if name cannot be the name of a mesh.
func CheckName(name string) error {
	_, err := cleanName(name)
	return err
}

// CheckID returns an error if id is not 1 to 63 hexadecimal digits.
func CheckID(id string) error {
	switch {
	case id == "" || strings.Trim(id, "0123456789abcdefABCDEF") != "":
		return fmt.Errorf("mesh: id %q must be a hex string", id)
	case len(id) > 63:
		return fmt.Errorf("mesh: id %q is longer than 63 digits", id)
	}
	return nil
}

// cleanName returns the name as it is announced, without a leading _.
func cleanName(name string) (string, error) {
	clean := strings.TrimPrefix(name, "_")
	switch {
	case clean == "":
		return "", errors.New("mesh: the name must not be empty")
	case len(clean) > 15:
		return "", fmt.Errorf("mesh: name %q has more than 15 characters", clean)
	}
	for _, r := range clean {
		if r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return "", fmt.Errorf("mesh: name %q may only contain letters, digits and hyphens", clean)
		}
	}
	return clean, nil
}

// makeID returns the node's id.
func (n *Node) makeID() (string, error) {
	own := ""
	if n.Identity != nil {
		if len(n.Identity) != ed25519.PrivateKeySize {
			return "", errors.New("mesh: Identity is no private key of Ed25519")
		}
		own = IdentityID(n.Identity.Public().(ed25519.PublicKey))
	}
	id := strings.ToUpper(n.ID)
	switch {
	case id == "" && own != "":
		return own, nil
	case id == "":
		return NewID(), nil
	}
	if err := CheckID(id); err != nil {
		return "", err
	}
	if own != "" && id != own {
		return "", fmt.Errorf("mesh: the id of this Identity is %s, not %s", own, id)
	}
	return id, nil
}

// dials reports whether the node with the id mine dials the other one. The lower id dials, compared
// digit by digit; if one id is a prefix of the other, the longer one dials.
func dials(mine, theirs string) bool {
	for i := range min(len(mine), len(theirs)) {
		if mine[i] != theirs[i] {
			return mine[i] < theirs[i]
		}
	}
	return len(mine) > len(theirs)
}
