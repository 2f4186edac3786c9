package tcp

import (
	"crypto/tls"
	"testing"
)

// A panic in the callbacks of a TLS configuration costs its own stream, which is told.
func TestSecurePanics(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		d := newDiary()
		v := &Server{OnConnection: func(s *Stream) {
			s.Events = d.events()
			secure(t, s, &tls.Config{
				GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { panic("oops") },
			})
		}}
		client := tls.Client(plainDial(t, listen(t, v)), &tls.Config{InsecureSkipVerify: true})
		if err := client.Handshake(); err == nil {
			t.Error("the handshake is complete")
		}
		d.has(t, "error TLS handshake: callback panicked: string")
		d.has(t, "close true")
	})
}
