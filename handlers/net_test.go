package handlers

import (
	"errors"
	"io"
	"net"
	"testing"
)

func TestCloseWrite(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := CloseWrite(client); err != nil {
		t.Errorf("CloseWrite() = %v", err)
	}
	if _, err := server.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("Read() = %v, want EOF", err)
	}
	if _, err := server.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if n, err := client.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("Read() = %d, %v after CloseWrite", n, err)
	}
	one, two := net.Pipe()
	defer one.Close()
	defer two.Close()
	if err := CloseWrite(one); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("CloseWrite() of a pipe = %v, want %v", err, errors.ErrUnsupported)
	}
}
