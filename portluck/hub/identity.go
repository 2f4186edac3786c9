package hub

import (
	"bufio"
	"context"
	"crypto/tls"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/portluck/portluck/handlers"
)

// identity is what is known of a client. That of many clients is the same, but for their Remote:
// they share one.
type identity struct {
	binding *Binding
	// info is without Remote if the client has that, and without Request if it has a Head, of which
	// that is made when somebody asks for it; its TLS may be askConn.
	info *handlers.Info
	// cause is why the server ended the client; nil if it did not, and nobody shares the identity
	// otherwise.
	cause *error
}

// become makes i the identity of c, but for its cause.
func (c *Client) become(i *identity) {
	for {
		old := c.who.Load()
		if old != nil && old.cause != nil {
			kept := *i
			kept.cause = old.cause
			i = &kept
		}
		if c.who.CompareAndSwap(old, i) {
			return
		}
	}
}

// blame makes err the cause of c's end, unless it has another one.
func (c *Client) blame(err error) {
	for {
		old := c.who.Load()
		blamed := *old
		blamed.cause = &err
		if old.cause != nil || c.who.CompareAndSwap(old, &blamed) {
			return
		}
	}
}

// askConn stands for the TLS state of a client whose connection can be asked for it: with it an
// idle client takes 300 bytes less.
var askConn = &tls.ConnectionState{HandshakeComplete: true}

// secured is a stream that may be inside TLS.
type secured interface {
	TLSConn() *tls.Conn // nil if it is not, or has not been driven yet
}

// tlsConn is nil if there is none to be asked.
func (c *Client) tlsConn() *tls.Conn {
	if s, ok := c.stream.(secured); ok {
		return s.TLSConn()
	}
	return nil
}

// identities are those that are shared. A fleet of clients that send the same handshake has one.
type identities struct {
	last atomic.Pointer[identity] // most clients are like the one before

	mu  sync.Mutex
	all map[likeness]*identity
}

// likeness is what clients with the same identity have in common.
type likeness struct {
	binding       *Binding
	info          handlers.Info // without Head
	before, after string        // its Head, around the field that is different for each client
}

// maxIdentities bounds them: with addresses that a proxy makes up there may be any number.
const maxIdentities = 256

// of returns the identity of clients like this.
func (s *identities) of(k likeness) *identity {
	if i := s.last.Load(); i != nil && k.is(i) {
		return i
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.all[k]
	if i == nil {
		k.before, k.after = strings.Clone(k.before), strings.Clone(k.after) // they are parts of something longer
		info := k.info
		info.Head = k.before + k.after
		i = &identity{binding: k.binding, info: &info}
		for old := range s.all {
			if len(s.all) < maxIdentities {
				break
			}
			delete(s.all, old) // any one: its clients keep it
		}
		if s.all == nil {
			s.all = map[likeness]*identity{}
		}
		s.all[k] = i
	}
	s.last.Store(i)
	return i
}

// is reports whether i is the identity of such clients.
func (k likeness) is(i *identity) bool {
	info := *i.info
	info.Head = ""
	head := i.info.Head
	return i.binding == k.binding && info == k.info &&
		len(head) == len(k.before)+len(k.after) && head[:len(k.before)] == k.before && head[len(k.before):] == k.after
}

// around is head on both sides of its Sec-WebSocket-Key, which is of no use after the handshake.
func around(head string) (before, after string) {
	at := 0
	for line := range strings.Lines(head) {
		if name, _, ok := strings.Cut(line, ":"); ok && strings.EqualFold(name, "Sec-WebSocket-Key") {
			return head[:at], head[at+len(line):]
		}
		at += len(line)
	}
	return head, ""
}

// identify makes info what is known of c, in as little memory as that takes if its Remote is that
// of c.
func (c *Client) identify(b *Binding, info *handlers.Info) {
	if c.remote != compact(info.Remote) || info.Remote.IsValid() && !c.remote.isValid() || info.Request != nil && !remakes(info) {
		c.become(&identity{binding: b, info: info})
		return
	}
	k := likeness{binding: b, info: *info}
	k.info.Remote, k.info.Request, k.info.Head = netip.AddrPort{}, nil, ""
	k.before, k.after = around(info.Head)
	if info.TLS != nil && c.tlsConn() != nil {
		k.info.TLS = askConn
	}
	switch i := c.who.Load(); {
	case i != nil && k.is(i):
	case k.info.TLS != nil && k.info.TLS != askConn: // no other client has that
		k.info.Head = k.before + k.after
		c.become(&identity{binding: b, info: &k.info})
	default:
		c.become(b.hub.identities.of(k))
	}
}

// remakes reports whether the Request is as it was parsed: nobody has given it a context.
func remakes(info *handlers.Info) bool {
	return info.Head != "" && info.Request.Context() == context.Background()
}

// remade reports whether the Request is to be made of the Head.
func remade(info *handlers.Info) bool { return info.Request == nil && info.Head != "" }

// Info is all that is known of the client. It must not be changed.
func (c *Client) Info() *handlers.Info {
	known := c.who.Load().info
	if !remade(known) && known.TLS != askConn && (known.Remote.IsValid() || !c.remote.isValid()) {
		return known
	}
	info := *known
	info.Remote, info.TLS, info.Request = c.Remote(), c.TLS(), c.Request()
	return &info
}

// Remote is the client's end of the connection; zero on a Unix socket.
func (c *Client) Remote() netip.AddrPort {
	if r := c.who.Load().info.Remote; r.IsValid() || !c.remote.isValid() {
		return r
	}
	return c.remote.addrPort()
}

// TLS is the state of the client's TLS layer; nil on a plain connection.
func (c *Client) TLS() *tls.ConnectionState {
	state := c.who.Load().info.TLS
	if state != askConn {
		return state
	}
	now := c.tlsConn().ConnectionState()
	return &now
}

// Request is the HTTP request, or the WebSocket handshake, of the client; nil for raw clients. That
// of a WebSocket client is kept as the bytes that it came in, but for its Sec-WebSocket-Key, and
// made of them again at each call after OnConnect.
func (c *Client) Request() *http.Request {
	known := c.who.Load().info
	if !remade(known) {
		return known.Request
	}
	r, err := http.ReadRequest(bufio.NewReaderSize(strings.NewReader(known.Head), len(known.Head)))
	if err != nil {
		return nil // it was parsed before
	}
	r.Body, r.TLS = http.NoBody, c.TLS()
	if remote := c.Remote(); remote.IsValid() {
		r.RemoteAddr = remote.String()
	}
	return r
}

// compactAddr is a netip.AddrPort without a zone.
type compactAddr struct {
	ip   [16]byte
	port uint16
	bits uint8 // 32 or 128; 0: there is none
}

// compact is none if a has a zone, or is not valid.
func compact(a netip.AddrPort) compactAddr {
	if !a.IsValid() {
		return compactAddr{}
	}
	c := compactAddr{ip: a.Addr().As16(), port: a.Port(), bits: uint8(a.Addr().BitLen())}
	if c.addrPort() != a {
		return compactAddr{}
	}
	return c
}

func (c compactAddr) isValid() bool { return c.bits != 0 }

func (c compactAddr) addrPort() netip.AddrPort {
	ip := netip.AddrFrom16(c.ip)
	if c.bits == 32 {
		ip = ip.Unmap()
	}
	return netip.AddrPortFrom(ip, c.port)
}
