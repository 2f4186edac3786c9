package portluck

import (
	"bufio"
	"context"
	"crypto/tls"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// identity is what is known of a client. That of many clients is the same, but for their Remote: they share one.
type identity struct {
	log  *log
	info *Info  // without Remote if the client has that, and Request if there is a head; its TLS may be askConn
	head string // what Request is parsed from
}

// askConn stands for the TLS state of a client whose connection can be asked for it: with it an idle client takes 300
// bytes less.
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

// identities are those that are shared.
type identities struct {
	mu  sync.Mutex
	all atomic.Pointer[[]*identity]
}

// maxIdentities bounds them: with addresses that a proxy makes up there may be any number.
const maxIdentities = 64

// of returns the shared identity of this info, or nil if there are too many.
func (s *identities) of(l *log, info *Info) *identity {
	find := func() *identity {
		if all := s.all.Load(); all != nil {
			for _, i := range *all {
				if i.log == l && *i.info == *info {
					return i
				}
			}
		}
		return nil
	}
	if i := find(); i != nil {
		return i
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := find(); i != nil {
		return i
	}
	var all []*identity
	if p := s.all.Load(); p != nil {
		all = *p
	}
	if len(all) >= maxIdentities {
		return nil
	}
	kept := *info
	i := &identity{log: l, info: &kept}
	all = append(slices.Clip(all), i)
	s.all.Store(&all)
	return i
}

// identify makes info what is known of c, in as little memory as that takes if its Remote is that of c.
func (c *Client) identify(l *log, info *Info) {
	if c.remote != compact(info.Remote) || info.Remote.IsValid() && !c.remote.isValid() || info.Request != nil && !remakes(info) {
		c.who.Store(&identity{log: l, info: info})
		return
	}
	rest := *info
	rest.Remote, rest.Request, rest.Head = netip.AddrPort{}, nil, ""
	if rest.TLS != nil && c.tlsConn() != nil {
		rest.TLS = askConn
	}
	if i := c.who.Load(); i != nil && i.head == info.Head && *i.info == rest {
		return
	}
	var i *identity
	if rest.TLS == nil || rest.TLS == askConn {
		i = c.hub.identities.of(l, &rest)
	}
	if i == nil {
		i = &identity{log: l, info: &rest}
	}
	if info.Head != "" {
		i = &identity{log: l, info: i.info, head: info.Head}
	}
	c.who.Store(i)
}

// remakes says whether the Request is as it was parsed: nobody has given it a context.
func remakes(info *Info) bool {
	return info.Head != "" && info.Request.Context() == context.Background()
}

// Info is all that is known of the client. It must not be changed.
func (c *Client) Info() *Info {
	i := c.who.Load()
	if i.head == "" && i.info.TLS != askConn && (i.info.Remote.IsValid() || !c.remote.isValid()) {
		return i.info
	}
	info := *i.info
	info.Remote, info.TLS = c.Remote(), c.TLS()
	if i.head != "" {
		info.Head, info.Request = i.head, c.Request()
	}
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

// Request is the HTTP request, or the WebSocket handshake, of the client; nil for raw clients. That of a WebSocket client
// is kept as the bytes that it came in, and made of them again at each call after OnConnect.
func (c *Client) Request() *http.Request {
	i := c.who.Load()
	if i.head == "" {
		return i.info.Request
	}
	r, err := http.ReadRequest(bufio.NewReaderSize(strings.NewReader(i.head), len(i.head)))
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
