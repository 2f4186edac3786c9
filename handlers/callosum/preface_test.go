package callosum

import (
	"bytes"
	"io"
	"net"
	"testing"
	"testing/iotest"
)

// source is a connection that can only be read.
type source struct {
	net.Conn // nil, so that other calls panic
	io.Reader
}

func (s source) Read(p []byte) (int, error) { return s.Reader.Read(p) }

// However the stream is split, and whatever the buffer, Read removes the preface from the beginning
// of the stream, and nothing else.
func FuzzPreface(f *testing.F) {
	for _, s := range []string{"", "hello", Preface, Preface + "hello", Preface + Preface, Preface[:4], Preface[:4] + "x", "x" + Preface, "\xc1", "\xc1\xc1callosum\r\n"} {
		f.Add([]byte(s), uint8(0))
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, in []byte, size uint8) {
		want := bytes.TrimPrefix(in, []byte(Preface))
		for how, r := range map[string]io.Reader{
			"at once":  bytes.NewReader(in),
			"by bytes": iotest.OneByteReader(bytes.NewReader(in)),
			"halves":   iotest.HalfReader(bytes.NewReader(in)),
			"with EOF": iotest.DataErrReader(bytes.NewReader(in)),
		} {
			c := &Conn{Conn: source{Reader: r}, preface: true, gone: make(chan struct{})}
			var got []byte
			buf := make([]byte, int(size)+1)
			for {
				n, err := c.Read(buf)
				got = append(got, buf[:n]...)
				if err == io.EOF {
					break
				}
				if err != nil || n == 0 {
					t.Fatalf("%s: Read() = %d, %v", how, n, err)
				}
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("%s: read %q of %q, want %q", how, got, in, want)
			}
		}
	})
}

// One write of the client is one read of the application, up to the size of the buffer.
func TestReadAtOnce(t *testing.T) {
	c := &Conn{Conn: source{Reader: bytes.NewReader(make([]byte, 100))}, preface: true, gone: make(chan struct{})}
	if n, err := c.Read(make([]byte, 1000)); n != 100 || err != nil {
		t.Errorf("Read() = %d, %v, want 100", n, err)
	}
	if n, err := c.Read(nil); n != 0 || err != nil {
		t.Errorf("Read(nil) = %d, %v", n, err)
	}
}
