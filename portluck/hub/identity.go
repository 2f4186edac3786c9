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

// identity holds a client's metadata. Clients that differ only in Remote share one.
type identity struct {
	binding *Binding
	// info has no Remote if the client's remote field has it, and no Request if one can be parsed
	// from its Head. Its TLS may be askConn.
	info *handlers.Info
	// cause is why the server ended the client, nil if it did not. An identity with a cause is not
	// shared.
	cause *error
	// attrs is nil for most. An identity with attributes is not shared.
	attrs *attributes
}

// setIdentity replaces the identity of c, but keeps its cause and its attributes.
func (c *Client) setIdentity(i *identity) {
	for {
		old := c.who.Load()
		if old != nil && (old.cause != nil || old.attrs != nil) {
			kept := *i
			kept.cause, kept.attrs = old.cause, old.attrs
			i = &kept
		}
		if c.who.CompareAndSwap(old, i) {
			return
		}
	}
}

// setCause sets the cause of c's end, unless there is one already.
func (c *Client) setCause(err error) {
	for {
		old := c.who.Load()
		blamed := *old
		blamed.cause = &err
		if old.cause != nil || c.who.CompareAndSwap(old, &blamed) {
			return
		}
	}
}

// askConn stands in Info.TLS for the state that the client's connection returns when it is needed.
// It saves 300 bytes for each idle client.
var askConn = &tls.ConnectionState{HandshakeComplete: true}

// A secured is a stream that may be inside TLS.
type secured interface {
	TLSConn() *tls.Conn // nil if it is not inside TLS, or was not driven yet
}

// tlsConn returns the client's TLS connection; nil if there is none, or its stream does not have
// it.
func (c *Client) tlsConn() *tls.Conn {
	if s, ok := c.stream.(secured); ok {
		return s.TLSConn()
	}
	return nil
}

// identities are the shared ones. All clients that send the same handshake share one.
type identities struct {
	last atomic.Pointer[identity] // returned last: most clients are like the one before

	mu  sync.Mutex
	all map[identityKey]*identity
}

// identityKey is what clients that share an identity have in common.
type identityKey struct {
	binding       *Binding
	info          handlers.Info // without Head
	before, after string        // the Head, around the field that differs for each client
}

// maxIdentities bounds the shared identities: a proxy can make up any number of local addresses.
const maxIdentities = 256

// of returns the shared identity of clients with this key.
func (s *identities) of(k identityKey) *identity {
	if i := s.last.Load(); i != nil && k.is(i) {
		return i
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.all[k]
	if i == nil {
		k.before, k.after = strings.Clone(k.before), strings.Clone(k.after) // not the whole head
		info := k.info
		info.Head = k.before + k.after
		i = &identity{binding: k.binding, info: &info}
		for old := range s.all {
			if len(s.all) < maxIdentities {
				break
			}
			delete(s.all, old) // any one; its clients still use it
		}
		if s.all == nil {
			s.all = map[identityKey]*identity{}
		}
		s.all[k] = i
	}
	s.last.Store(i)
	return i
}

// is reports whether i is the identity of clients with this key.
func (k identityKey) is(i *identity) bool {
	info := *i.info
	info.Head = ""
	head := i.info.Head
	return i.binding == k.binding && info == k.info &&
		len(head) == len(k.before)+len(k.after) && head[:len(k.before)] == k.before && head[len(k.before):] == k.after
}

// around returns the parts of head before and after its line Sec-WebSocket-Key, which has no use
// after the handshake.
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

// setInfo replaces the metadata of c. If the Remote of info is that of c, an identity that other
// clients share holds the rest, where possible.
func (c *Client) setInfo(b *Binding, info *handlers.Info) {
	if c.remote != compact(info.Remote) || info.Remote.IsValid() && !c.remote.isValid() || info.Request != nil && !parsesAgain(info) {
		c.setIdentity(&identity{binding: b, info: info})
		return
	}
	k := identityKey{binding: b, info: *info}
	k.info.Remote, k.info.Request, k.info.Head = netip.AddrPort{}, nil, ""
	k.before, k.after = around(info.Head)
	if info.TLS != nil && c.tlsConn() != nil {
		k.info.TLS = askConn
	}
	switch i := c.who.Load(); {
	case i != nil && k.is(i):
	case k.info.Login != nil, k.info.TLS != nil && k.info.TLS != askConn: // no other client has this
		alone := k.info // so that k need not be on the heap
		alone.Head = k.before + k.after
		c.setIdentity(&identity{binding: b, info: &alone})
	default:
		c.setIdentity(b.hub.identities.of(k))
	}
}

// parsesAgain reports whether parsing the Head gives the Request again: there is a Head, and nobody
// has given the Request a context.
func parsesAgain(info *handlers.Info) bool {
	return info.Head != "" && info.Request.Context() == context.Background()
}

// hasHeadOnly reports whether the Request must be parsed from the Head.
func hasHeadOnly(info *handlers.Info) bool { return info.Request == nil && info.Head != "" }

// Info returns all that is known of the client. The caller must not change it.
func (c *Client) Info() *handlers.Info {
	known := c.who.Load().info
	if !hasHeadOnly(known) && known.TLS != askConn && (known.Remote.IsValid() || !c.remote.isValid()) {
		return known
	}
	info := *known
	info.Remote, info.TLS, info.Request = c.Remote(), c.TLS(), c.Request()
	return &info
}

// Remote returns the address of the client's end of the connection; zero on a Unix socket.
func (c *Client) Remote() netip.AddrPort {
	if r := c.who.Load().info.Remote; r.IsValid() || !c.remote.isValid() {
		return r
	}
	return c.remote.addrPort()
}

// TLS returns the state of the client's TLS connection; nil on a plain one.
func (c *Client) TLS() *tls.ConnectionState {
	state := c.who.Load().info.TLS
	if state != askConn {
		return state
	}
	now := c.tlsConn().ConnectionState()
	return &now
}

// Request returns the client's HTTP request or WebSocket handshake; nil for raw clients. The hub
// keeps the handshake as the bytes that the client sent, without their Sec-WebSocket-Key: after
// OnConnect each call parses them again.
func (c *Client) Request() *http.Request {
	known := c.who.Load().info
	if !hasHeadOnly(known) {
		return known.Request
	}
	r, err := http.ReadRequest(bufio.NewReaderSize(strings.NewReader(known.Head), len(known.Head)))
	if err != nil {
		return nil // cannot be: it was parsed before
	}
	r.Body, r.TLS = http.NoBody, c.TLS()
	if remote := c.Remote(); remote.IsValid() {
		r.RemoteAddr = remote.String()
	}
	return r
}

// compactAddr is a netip.AddrPort without a zone, in 20 bytes instead of 32.
type compactAddr struct {
	ip   [16]byte
	port uint16
	bits uint8 // of the address: 32 or 128; 0 if there is none
}

// compact returns a as a compactAddr, which is not valid if a has a zone or is not valid.
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
