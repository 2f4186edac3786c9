package tcp

import (
	"crypto/tls"
	"io"
	"strings"
	"testing"
	"time"
)

// A panic in a callback of a TLS configuration ends its own stream, which gets OnError.
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

// After a panic in a callback OnError and OnClose are called at once, however long the peer stays.
// One of several tries must be fast, as a machine may have other work.
func TestPanicEndsAtOnce(t *testing.T) {
	panics := map[string]func(v *Server, s *Stream){
		"OnConnection": nil,
		"OnConnect":    func(_ *Server, s *Stream) { s.Events.OnConnect = func(*Stream) { panic("oops") } },
		"OnData":       func(_ *Server, s *Stream) { s.Events.OnData = func(*Stream, []byte) { panic("oops") } },
		"OnEnd":        func(_ *Server, s *Stream) { s.Events.OnEnd = func(*Stream) { panic("oops") } },
		"OnDrain": func(_ *Server, s *Stream) {
			s.Events.OnData = func(s *Stream, _ []byte) { writeUntilQueued(s) }
			s.Events.OnDrain = func(*Stream) { panic("oops") }
		},
		"OnTimeout": func(_ *Server, s *Stream) {
			s.Events.OnData = func(s *Stream, _ []byte) { s.SetTimeout(time.Millisecond) }
			s.Events.OnTimeout = func(*Stream) { panic("oops") }
		},
	}
	for name, set := range panics {
		t.Run(name, func(t *testing.T) {
			eachDriver(t, func(t *testing.T) {
				best := time.Hour
				for range 20 {
					if best = min(best, panicTime(t, set)); best < 200*time.Millisecond {
						return
					}
				}
				t.Errorf("OnClose comes %v after the panic", best)
			})
		})
	}
}

// panicTime returns how long a client that stays waits for the end of its stream. A nil set panics
// itself.
func panicTime(t *testing.T, set func(v *Server, s *Stream)) time.Duration {
	t.Helper()
	d := newDiary()
	v := &Server{Events: d.events()}
	v.OnConnection = func(s *Stream) {
		events := *s.Events
		s.Events = &events
		if set == nil {
			panic("oops")
		}
		set(v, s)
	}
	nc := plainDial(t, listen(t, v))
	defer nc.Close()
	begun := time.Now()
	mustWrite(t, nc, "x")
	go func() { _, _ = io.Copy(io.Discard, nc) }() // ends with nc
	if strings.Contains(t.Name(), "OnEnd") {
		_ = nc.CloseWrite()
	}
	d.closed(t)
	d.has(t, "error callback panicked: string")
	d.has(t, "close true")
	return time.Since(begun)
}
