package handlers

import (
	"errors"
	"io"
	"net"
	"testing"
)

// outer is a Conn of a program, which is no Detacher.
type outer struct {
	nc     net.Conn
	err    error // of NetConn
	closed int
}

func (*outer) Info() *Info                  { return &Info{Protocol: "outer"} }
func (o *outer) NetConn() (net.Conn, error) { return o.nc, o.err }
func (o *outer) Close() error               { o.closed++; return nil }

// A Conn that is no Detacher becomes one, which has only its net.Conn to offer.
func TestAsDetacher(t *testing.T) {
	t.Parallel()
	one, two := net.Pipe()
	defer one.Close()
	defer two.Close()
	o := &outer{nc: one}
	d := AsDetacher(o)
	if s := d.Socket(); s.Conn != one || s.Unread != nil {
		t.Errorf("Socket() = %v", s)
	}
	if nc, err := d.LazyNetConn(); nc != one || err != nil {
		t.Errorf("LazyNetConn() = %v, %v", nc, err)
	}
	place, err := d.Detach()
	if err != nil || o.closed != 0 {
		t.Fatalf("Detach() = %v, closed %d times", err, o.closed)
	}
	if place.Close(); o.closed != 1 {
		t.Errorf("its place has closed it %d times", o.closed)
	}
	if AsDetacher(d) != d {
		t.Error("a Detacher has become another one")
	}
	broken := AsDetacher(&outer{err: io.ErrClosedPipe})
	if s := broken.Socket(); s.Conn != nil || s.FD != -1 {
		t.Errorf("Socket() = %v without a net.Conn", s)
	}
	if _, err := broken.LazyNetConn(); err != io.ErrClosedPipe {
		t.Errorf("LazyNetConn() = %v", err)
	}
}

// detachable is a Detacher that has been closed, or not.
type detachable struct {
	Detacher
	place io.Closer
}

func (d *detachable) Detach() (io.Closer, error) {
	if d.place == nil {
		return nil, net.ErrClosed
	}
	return d.place, nil
}

// The place of an inner layer is that of the layer around it.
func TestWrapDetaches(t *testing.T) {
	t.Parallel()
	one, two := net.Pipe()
	defer two.Close()
	o, place := &outer{nc: one}, io.NopCloser(nil)
	for _, tt := range []struct {
		name  string
		outer Conn
		place io.Closer
		err   error
	}{
		{"of a Detacher", &detachable{AsDetacher(o), place}, place, nil},
		{"of two layers", Wrap(&detachable{AsDetacher(o), place}, one, &Info{}), place, nil},
		{"of a Conn", o, o, nil},
		{"of no port", nil, noPlace{}, nil},
		{"of a closed one", &detachable{AsDetacher(o), nil}, nil, net.ErrClosed},
	} {
		w := Wrap(tt.outer, one, &Info{Protocol: "inner"})
		if nc, err := w.LazyNetConn(); w.Socket().Conn != one || nc != one || err != nil {
			t.Errorf("%s: %v, LazyNetConn() = %v, %v", tt.name, w.Socket(), nc, err)
		}
		if got, err := w.Detach(); got != tt.place || !errors.Is(err, tt.err) {
			t.Errorf("%s: Detach() = %v, %v, want %v, %v", tt.name, got, err, tt.place, tt.err)
		}
	}
	if err := Wrap(nil, one, &Info{}).Close(); err != nil {
		t.Errorf("Close() of no port = %v", err)
	}
	if _, err := two.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("Read() = %v, want EOF", err)
	}
}
