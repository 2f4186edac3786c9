package raw

import (
	"errors"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/handlers/internal/chunktest"
	"github.com/portluck/portluck/testdata/funcs"
)

// port records what a handler does with its connection.
type port struct {
	handlers.Port // nil, so that any other call panics
	attached      []handlers.Attachment
	failed        error
}

func (p *port) Attach(_ handlers.Conn, a handlers.Attachment) { p.attached = append(p.attached, a) }
func (p *port) Fail(_ *handlers.Info, err error)              { p.failed = err }

// conn is a connection that must not be touched.
type conn struct {
	info   handlers.Info
	closed bool
}

func (c *conn) Info() *handlers.Info       { return &c.info }
func (c *conn) NetConn() (net.Conn, error) { return nil, errors.New("not asked for") }
func (c *conn) Close() error               { c.closed = true; return nil }

func TestHandlerAttaches(t *testing.T) {
	for _, test := range []struct {
		name    string
		handler *Handler
		want    handlers.Codec
	}{
		{"zero value", &Handler{}, &sharedLines{Lines: &Lines{}}},
		{
			"fields",
			&Handler{Delimiter: "\x00", Limit: 5, Tail: true, AllowHTTP: true},
			&sharedLines{Lines: &Lines{Delimiter: "\x00", Limit: 5, Tail: true, AllowHTTP: true}},
		},
		{"own codec", &Handler{NewCodec: func(*handlers.Info) handlers.Codec { return Bytes{} }}, Bytes{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, c := &port{}, &conn{}
			test.handler.Serve(c, p)
			if len(p.attached) != 1 || !reflect.DeepEqual(p.attached[0].Codec, test.want) {
				t.Fatalf("attached %+v, want once with %+v", p.attached, test.want)
			}
			if c.closed || p.failed != nil {
				t.Errorf("closed = %t, failed with %v, want neither", c.closed, p.failed)
			}
		})
	}
}

func TestHandlerGivesEachConnectionItsCodec(t *testing.T) {
	h, p := &Handler{}, &port{}
	h.Serve(&conn{}, p)
	h.Serve(&conn{}, p)
	if p.attached[0].Codec == p.attached[1].Codec {
		t.Error("two connections share a codec")
	}
}

func TestHandlerRefuses(t *testing.T) {
	h := &Handler{NewCodec: func(*handlers.Info) handlers.Codec { return nil }}
	p, c := &port{}, &conn{}
	h.Serve(c, p)
	if !c.closed || !errors.Is(p.failed, handlers.ErrPolicy) || len(p.attached) > 0 {
		t.Errorf("closed = %t, failed with %v, %d attached, want true, %v, 0", c.closed, p.failed, len(p.attached), handlers.ErrPolicy)
	}
}

// A panic in NewCodec refuses the connection.
func TestNewCodecPanics(t *testing.T) {
	funcs.Covered(t, "Handler.NewCodec")
	h := &Handler{NewCodec: func(*handlers.Info) handlers.Codec { panic("of the program") }}
	c, p := &conn{}, &port{}
	h.Serve(c, p)
	if !c.closed || !errors.Is(p.failed, handlers.ErrPanic) || len(p.attached) != 0 {
		t.Errorf("closed %t, failed with %v, attached %d", c.closed, p.failed, len(p.attached))
	}
}

func TestHandlerNamesTheProtocol(t *testing.T) {
	for _, test := range []struct{ name, protocol, want string }{
		{"unnamed", "", "tcp"},
		{"inside TLS", "tls", "tcp"},
		{"named already", "tcp", ""},
		{"a route's own name", "chat", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, c := &port{}, &conn{info: handlers.Info{Protocol: test.protocol}}
			(&Handler{}).Serve(c, p)
			got := ""
			if info := p.attached[0].Info; info != nil {
				got = info.Protocol
			}
			if got != test.want {
				t.Errorf("Attachment.Info has protocol %q, want %q", got, test.want)
			}
			if c.info.Protocol != test.protocol {
				t.Error("the connection's own info was changed")
			}
		})
	}
}

func TestBytes(t *testing.T) {
	got, err := feed(Bytes{}, []byte("a\n"), []byte("b"), nil)
	if want := []string{"a\n", "b"}; err != nil || !slices.Equal(got.msgs, want) {
		t.Errorf("Decode = %q, %v, want %q, nil", got.msgs, err, want)
	}
	out := Bytes{}.AppendMessage(Bytes{}.AppendWrite(nil, []byte("a"), handlers.Auto), []byte("b"), handlers.Auto)
	if got, want := string(Bytes{}.AppendClose(out, handlers.ErrPanic)), "ab"; got != want {
		t.Errorf("Append = %q, want %q", got, want)
	}
}

// The codec of a Handler decodes as Lines does, however the stream is split.
func TestHandlersCodecIsLines(t *testing.T) {
	h := &Handler{Limit: 5, Tail: true}
	for _, in := range []string{"a\nbc\n", "abcdefghi\nb\nc", "GET / HTTP/1.1\r\nHost: x\r\n", "a\nHost: x\n", "GET /" + strings.Repeat("x", 3000) + " HTTP/1.1\n"} {
		for _, size := range []int{1, 3, 1 << 20} {
			want, wantErr := feed(&Lines{Limit: 5, Tail: true}, chunktest.Of(in, size)...)
			got, err := feed(h.Codec(nil), chunktest.Of(in, size)...)
			if !slices.Equal(got.msgs, want.msgs) || !errors.Is(err, wantErr) || got.held != want.held {
				t.Errorf("%.20q in pieces of %d: %q, %v, %d held, want %q, %v, %d", in, size, got.msgs, err, got.held, want.msgs, wantErr, want.held)
			}
		}
	}
	if got := unsafe.Sizeof(sharedLines{}); got > 16 {
		t.Errorf("a codec is %d bytes, want at most 16", got)
	}
}

// A codec frames a message once for many connections. A type that embeds it does not.
func TestFraming(t *testing.T) {
	lines, prefixed := &Lines{Delimiter: ";"}, &Prefixed{Size: 2, LittleEndian: true}
	shared := (&Handler{Delimiter: ";"}).Codec(nil)
	for _, test := range []struct {
		name   string
		framer handlers.Framer
		codec  handlers.Codec
		want   string
	}{
		{"Lines", lines, lines, "a;"},
		{"embedded Lines", lines, struct{ *Lines }{lines}, ""},
		{"other Lines", lines, &Lines{Delimiter: ";"}, ""},
		{"Lines of a Handler", shared.(handlers.Framer), shared, "a;"},
		{"Prefixed", prefixed, prefixed, "\x01\x00a"},
		{"embedded Prefixed", prefixed, struct{ *Prefixed }{prefixed}, ""},
		{"Bytes", Bytes{}, Bytes{}, "a"},
		{"*Bytes", Bytes{}, &Bytes{}, "a"},
		{"embedded Bytes", Bytes{}, struct{ Bytes }{}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			if f := test.framer.Framing(test.codec); f != nil {
				got = string(f.AppendMessage(nil, []byte("a"), handlers.Auto))
			}
			if got != test.want {
				t.Errorf("framed as %q, want %q", got, test.want)
			}
		})
	}
}
