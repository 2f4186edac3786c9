package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/portluck/portluck/cmd/internal/cli"
)

// A plan says what to do. Children receive it as JSON.
type plan struct {
	Command string
	Target  netip.AddrPort
	Host    string // as it was typed: the name for HTTP and TLS
	Proto   string
	Path    string

	Conns   int     // connections at once: clients or members
	Stuck   int     // those of them that never read
	Depth   int     // messages in flight for each client
	Size    int     // bytes of a message
	Count   int     // in all, if not 0
	Rate    float64 // messages a second of all clients; 0 without a schedule
	Get     bool    // HTTP: GET instead of POST; the answer is no echo
	Time    time.Duration
	Timeout time.Duration // for a handshake, an echo or a delivery
	Line    string        // what a connection says first
	Burst   int           // bytes that each idle connection sends once
	Buffer  int           // bytes that the kernel takes for a stuck member; its own bound if 0

	CA         string
	Insecure   bool
	Reset      bool // close with RST
	LocalIPs   int
	Goroutines bool // to read with, instead of epoll
}

// protocols are the values of --proto.
var protocols = []string{"tcp", "tls", "http", "https", "ws", "wss"}

func (p *plan) secure() bool { return p.Proto == "tls" || p.Proto == "https" || p.Proto == "wss" }

// checkProto returns an error unless the protocol is one of allowed.
func (p *plan) checkProto(allowed []string) error {
	if !slices.Contains(allowed, p.Proto) {
		return cli.Usage(fmt.Errorf("--proto %q: it is %s", p.Proto, strings.Join(allowed, ", ")))
	}
	return nil
}

// checkLoad checks the flags of conn and echo.
func (p *plan) checkLoad() error {
	if err := p.checkProto(protocols); err != nil {
		return err
	}
	if err := checkRate(p.Rate); err != nil {
		return err
	}
	if p.Get && p.Proto != "http" && p.Proto != "https" {
		return cli.Usage(fmt.Errorf("--get with --proto %s: it goes with --proto http and https", p.Proto))
	}
	return nil
}

// resolve finds the address to connect to. It prefers IPv4.
func (p *plan) resolve(ctx context.Context, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return cli.Usage(fmt.Errorf("%q is not an address such as localhost:8100", addr))
	}
	n, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil || n == 0 {
		return cli.Usage(fmt.Errorf("%q is not a port", port))
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", cmp.Or(host, "127.0.0.1"))
	if err != nil {
		return err
	}
	slices.SortStableFunc(ips, func(a, b netip.Addr) int { return cmp.Compare(a.Unmap().BitLen(), b.Unmap().BitLen()) })
	p.Host, p.Target = addr, netip.AddrPortFrom(ips[0].Unmap(), uint16(n)) //nolint:gosec // a port
	return p.spread()
}

// connsPerIP is the number of connections from one local address: Linux has 28,000 ports for each.
const connsPerIP = 20_000

// spread chooses the number of local addresses: one pair of addresses has too few ports for many
// connections.
func (p *plan) spread() error {
	loopback := p.Target.Addr().Is4() && p.Target.Addr().IsLoopback()
	switch {
	case p.LocalIPs > 1 && !loopback:
		return cli.Usage(fmt.Errorf("--local-ips %d: only 127.0.0.1 has more of them, not %v", p.LocalIPs, p.Target.Addr()))
	case p.LocalIPs == 0 && loopback && runtime.GOOS == "linux":
		p.LocalIPs = p.Conns/connsPerIP + 1
		if p.Command == "conn" {
			p.LocalIPs += 7 // the ports of closed connections wait for a minute
		}
	}
	return nil
}
