//go:build amd64 || arm64

// On a processor with AES, crypto/tls chooses the cipher suite that these tests implement.

package loop

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// If a peer asks for new keys, the server sends them, even on an idle connection.
func TestTraps3Row6KeyUpdate(t *testing.T) {
	r := newRig(t, noBounds(), tlsBench(tls.VersionTLS13))
	server, nc := tcpPair(t)
	var keys keyLog
	tc := tls.Client(nc, &tls.Config{InsecureSkipVerify: true, KeyLogWriter: &keys})
	src := make(chan handlers.Conn, 1)
	go func() { src <- r.server(t, server) }() // ends with the handshake
	if err := tc.Handshake(); err != nil {
		t.Fatal(err)
	}
	tc.SetDeadline(time.Now().Add(time.Minute))
	c, rec := r.New(<-src, handlers.Attachment{Codec: &lines{}}), newRecorder()
	rec.onMessage = func(m handlers.Message) error { return c.Send(m.Data, m.Kind) }
	start(c, rec)
	if suite := tc.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
		t.Fatalf("the suite is %s: seal knows AES-128 only", tls.CipherSuiteName(suite))
	}
	time.Sleep(20 * time.Millisecond) // the connection is idle
	secret := keys.secret(t, "CLIENT_TRAFFIC_SECRET_0")
	keyUpdate := []byte{24, 0, 0, 1, 1} // update_requested
	for i := range 3 {
		nc.Write(seal(t, secret, min(uint64(i), 1), 22, keyUpdate)) // after the line
		secret = expand(t, secret, "traffic upd", 32)
		line := fmt.Sprintf("line %d\n", i)
		nc.Write(seal(t, secret, 0, 23, []byte(line)))
		mustRead(t, tc, line)
	}
	nc.Close()
	// There was no close_notify.
	wantEvents(t, rec, "connect", "line 0", "line 1", "line 2", "disconnect "+io.ErrUnexpectedEOF.Error())
}

type keyLog struct{ strings.Builder }

func (k *keyLog) secret(t *testing.T, label string) []byte {
	for line := range strings.Lines(k.String()) {
		if f := strings.Fields(line); f[0] == label {
			secret, err := hex.DecodeString(f[2])
			if err != nil {
				t.Fatal(err)
			}
			return secret
		}
	}
	t.Fatalf("no %s in the log", label)
	return nil
}

// expand is HKDF-Expand-Label (RFC 8446, section 7.1).
func expand(t *testing.T, secret []byte, label string, n int) []byte {
	label = "tls13 " + label
	info := append([]byte{0, byte(n), byte(len(label))}, label...)
	out, err := hkdf.Expand(sha256.New, secret, string(append(info, 0)), n)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// seal returns a record of TLS_AES_128_GCM_SHA256 (RFC 8446, section 5.2).
func seal(t *testing.T, secret []byte, seq uint64, kind byte, p []byte) []byte {
	block, err := aes.NewCipher(expand(t, secret, "key", 16))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	nonce := expand(t, secret, "iv", 12)
	for i := range 8 {
		nonce[4+i] ^= byte(seq >> (56 - 8*i))
	}
	n := len(p) + 1 + aead.Overhead()
	head := []byte{23, 3, 3, byte(n >> 8), byte(n)}
	return aead.Seal(head, nonce, append(append([]byte{}, p...), kind), head)
}
