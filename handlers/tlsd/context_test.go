package tlsd

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portluck/portluck/handlers"
)

// handshaker is a port that can end handshakes.
type handshaker struct {
	*port
	ctx context.Context
}

func (h handshaker) HandshakeContext() context.Context { return h.ctx }

// A callback of the Config that waits for the handshake's context returns at the deadline, and when
// the port ends the handshake.
func TestHandshakeContextEnds(t *testing.T) {
	waiting := map[string]func(c *tls.Config){
		"GetCertificate": func(c *tls.Config) {
			c.GetCertificate = func(i *tls.ClientHelloInfo) (*tls.Certificate, error) {
				<-i.Context().Done()
				return nil, i.Context().Err()
			}
		},
		"GetConfigForClient": func(c *tls.Config) {
			c.GetConfigForClient = func(i *tls.ClientHelloInfo) (*tls.Config, error) {
				<-i.Context().Done()
				return nil, i.Context().Err()
			}
		},
	}
	for _, tt := range []struct {
		name    string
		timeout time.Duration
		giveUp  time.Duration
		after   time.Duration
		want    error
	}{
		{"deadline", 3 * time.Second, time.Hour, 3 * time.Second, os.ErrDeadlineExceeded},
		{"default", 0, time.Hour, defaultHandshakeTimeout, os.ErrDeadlineExceeded},
		{"shutdown", 3 * time.Second, time.Second, time.Second, handlers.ErrShutdown},
		{"shutdown without a deadline", -1, time.Hour, time.Hour, handlers.ErrShutdown},
	} {
		for name, wait := range waiting {
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					config := newConfig(t)
					config.Certificates = nil
					wait(config)
					h := &Handler{Config: config, ALPN: map[string]handlers.Handler{"x": newEcho()}, HandshakeTimeout: tt.timeout}
					ctx, cancel := context.WithCancelCause(t.Context())
					time.AfterFunc(tt.giveUp, func() { cancel(handlers.ErrShutdown) })
					client, server := net.Pipe()
					defer client.Close()
					begin := time.Now()
					c, p := newConn(server), newPort()
					h.Serve(c, handshaker{p, ctx})
					go tls.Client(client, clientConfig()).Handshake() // ends with the connection
					err := p.err(t)
					if got := time.Since(begin); got != tt.after || !errors.Is(err, tt.want) {
						t.Errorf("Fail(%v) after %v, want %v after %v", err, got, tt.want, tt.after)
					}
					if c.open() {
						t.Error("the connection is open")
					}
					cancel(nil)
				})
			})
		}
	}
}
