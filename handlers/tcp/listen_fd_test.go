//go:build !windows

// Windows gives no descriptors of listeners.

package tcp

import (
	"net"
	"net/http"
	"os"
	"testing"
)

func TestNodeN10ListenFD(t *testing.T) {
	eachDriver(t, func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		v := &Server{Events: answering(t)}
		if err := v.ListenFD(inherited(f)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { shutdown(t, v) })
		l.Close() // the descriptor is another
		getHello(t, http.DefaultTransport, "http://"+v.Addr().String())
	})
	if err := new(Server).ListenFD(1 << 20); err == nil {
		t.Error("ListenFD of a descriptor that is not open = nil")
	}
}

// inherited is the descriptor of f, which f does not close.
func inherited(f *os.File) uintptr {
	keep = append(keep, f)
	return f.Fd()
}

var keep []*os.File
