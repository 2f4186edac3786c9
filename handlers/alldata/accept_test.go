package alldata

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
)

// peerErrors is a listener whose Accept fails with each of errs first.
type peerErrors struct {
	net.Listener
	errs []error
}

func (l *peerErrors) Accept() (net.Conn, error) {
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", err)}
	}
	return l.Listener.Accept()
}

// An error of one connection does not end the server (accept(2), "Error handling").
func TestServerGoesOnAfterAPeersError(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		Handler: &Handler{OnPut: func(context.Context, string, json.RawMessage) error { return nil }},
		OnError: func(err error) { t.Errorf("OnError got %v", err) },
	}
	s.beginLocked(&peerErrors{l, []error{
		syscall.EPROTO, syscall.EPERM, syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.ENOPROTOOPT, syscall.ENOBUFS,
	}}) // ends with Close
	defer s.Close()
	resp, err := http.Post("http://"+l.Addr().String(), "", strings.NewReader(upstreamBody))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Errorf("status %d, want 201", resp.StatusCode)
	}
}

// An error of the listener ends the server, and OnError is called.
func TestServerEndsWithItsListener(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan error, 1)
	s := &Server{Handler: &Handler{}, OnError: func(err error) { told <- err }}
	// Ends with the second error.
	s.beginLocked(&peerErrors{l, []error{syscall.EPROTO, syscall.EINVAL}})
	if err := <-told; err == nil || !strings.Contains(err.Error(), syscall.EINVAL.Error()) {
		t.Errorf("OnError got %v, want EINVAL", err)
	}
	s.Close()
}
