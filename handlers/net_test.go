package handlers

import (
	"errors"
	"io"
	"net"
	"net/netip"
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

func TestAddrPort(t *testing.T) {
	t.Parallel()
	four, mapped := net.IP{192, 0, 2, 1}, net.ParseIP("::ffff:192.0.2.1")
	for _, tt := range []struct {
		name string
		addr net.Addr
		want string
	}{
		{"TCP", &net.TCPAddr{IP: four, Port: 1}, "192.0.2.1:1"},
		{"TCP mapped", &net.TCPAddr{IP: mapped, Port: 2}, "192.0.2.1:2"},
		{"TCP 6", &net.TCPAddr{IP: net.ParseIP("fe80::1"), Port: 3, Zone: "lo"}, "[fe80::1%lo]:3"},
		{"UDP mapped", &net.UDPAddr{IP: mapped, Port: 4}, "192.0.2.1:4"},
		{"TCP nil", (*net.TCPAddr)(nil), ""},
		{"UDP nil", (*net.UDPAddr)(nil), ""},
		{"nil", nil, ""},
		{"a path like an address", &net.UnixAddr{Net: "unix", Name: "127.0.0.1:1"}, ""},
	} {
		var want netip.AddrPort
		if tt.want != "" {
			want = netip.MustParseAddrPort(tt.want)
		}
		if got := AddrPort(tt.addr); got != want {
			t.Errorf("%s: AddrPort() = %v, want %v", tt.name, got, want)
		}
	}
}
