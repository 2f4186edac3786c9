package udp

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/maphash"
	"math"
	"net/netip"
	"sync"
	"time"
)

// amplification is how many bytes may be sent to an unvalidated source for each byte that it has
// sent (RFC 9000, section 8.1).
const amplification = 3

// credit raises the budget of c, which has sent a datagram of n bytes.
func (o *output) credit(c *client, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c.bytes = saturate(uint64(c.bytes) + amplification*uint64(n))
	c.datagrams = saturate(uint64(c.datagrams) + amplification)
}

// bequeath passes the rest of c's budget to the client that takes its place.
func (o *output) bequeath(c, next *client) {
	o.mu.Lock()
	defer o.mu.Unlock()
	next.bytes, next.datagrams = c.bytes, c.datagrams
	c.bytes, c.datagrams = 0, 0
}

func saturate(n uint64) uint32 { return uint32(min(n, math.MaxUint32)) }

// affords reports whether n bytes may be sent to c, which is not validated, and charges them. The
// caller holds c's output.mu.
func (s *Server) affords(c *client, n int) bool {
	if c.datagrams == 0 || int64(c.bytes) < int64(n) || !s.rate.take(c.remote.Addr(), n, s.now()) {
		return false
	}
	c.bytes -= uint32(n)
	c.datagrams--
	return true
}

// trusts reports whether source addresses like a cannot be forged.
func (s *Server) trusts(a netip.Addr) bool { return isIn(a, s.Trusted) }

// isIn reports whether a is a loopback address or in one of networks.
func isIn(a netip.Addr, networks []netip.Prefix) bool {
	if a.IsLoopback() {
		return true
	}
	a = a.WithZone("")
	for _, p := range networks {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// rate bounds what is sent to the unvalidated clients of each network. A network's account allows
// one second's worth at once, and is filled again as time goes by. The number of accounts is fixed,
// so in a flood several networks may share one.
type rate struct {
	perSecond int
	seed      maphash.Seed

	mu       sync.Mutex
	accounts []account // nil before the first is needed
}

type account struct {
	network netip.Addr
	spent   int64         // bytes, as of at
	at      time.Duration // since the server's start
}

// accounts is the number of accounts. A network's account is one of probes neighbours.
const (
	accounts = 4096
	probes   = 4
)

func (r *rate) init(perSecond int) { r.perSecond, r.seed = perSecond, maphash.MakeSeed() }

// take charges n bytes to the account of a's network. It returns false, and charges nothing, if
// that is too much.
func (r *rate) take(a netip.Addr, n int, now time.Duration) bool {
	if r.perSecond < 0 {
		return true
	}
	bits := 48
	if a.Is4() {
		bits = 24
	}
	network, _ := a.WithZone("").Prefix(bits)
	r.mu.Lock()
	defer r.mu.Unlock()
	of := r.ofLocked(network.Addr(), now)
	filled := int64(min(now-of.at, time.Second)) * int64(r.perSecond) / int64(time.Second)
	of.spent, of.at = max(0, of.spent-filled), now
	if of.spent+int64(n) > int64(r.perSecond) {
		return false
	}
	of.spent += int64(n)
	return true
}

// ofLocked returns the account of a network: its own, a new one in place of one that is full again,
// or one that it must share.
func (r *rate) ofLocked(network netip.Addr, now time.Duration) *account {
	if r.accounts == nil {
		r.accounts = make([]account, accounts)
	}
	at := maphash.Comparable(r.seed, network)
	var free *account
	for i := range uint64(probes) {
		of := &r.accounts[(at+i)%accounts]
		if of.network == network {
			return of
		}
		if free == nil && (now-of.at >= time.Second || !of.network.IsValid()) {
			free = of
		}
	}
	if free != nil {
		*free = account{network: network, at: now}
		return free
	}
	return &r.accounts[at%accounts]
}

// TokenSize is how many bytes a token has.
const TokenSize = 16

// tokenTime is how long Token returns the same token. The server accepts it for as long again.
const tokenTime = 10 * time.Minute

// secret is the key that tokens are made with.
type secret struct{ key [32]byte }

func (k *secret) init() { _, _ = rand.Read(k.key[:]) } // rand.Read never fails

// of returns the token of a in a period, which is tokenTime long.
func (k *secret) of(a netip.AddrPort, period int64) []byte {
	mac := hmac.New(sha256.New, k.key[:])
	ip := a.Addr().As16()
	var b [10]byte
	binary.BigEndian.PutUint16(b[:], a.Port())
	binary.BigEndian.PutUint64(b[2:], uint64(period))
	mac.Write(ip[:])
	mac.Write(b[:])
	return hex.AppendEncode(nil, mac.Sum(nil)[:TokenSize/2])
}

// Token returns 16 hexadecimal digits that only a host which receives datagrams at remote can know.
// The program sends them to a client, for example in OnConnect, to validate its address. A datagram
// that begins with the token validates the client until it is disconnected. The Server removes the
// token and a line end after it; the rest, unless it is empty, is a message. A token is valid for
// 10 to 20 minutes.
func (s *Server) Token(remote netip.AddrPort) string {
	s.init()
	return string(s.secret.of(unmap(remote), int64(s.now()/tokenTime)))
}

// redeem removes a valid token of a from the front of p. It returns false if there is none.
func (s *Server) redeem(a netip.AddrPort, p []byte) (rest []byte, ok bool) {
	if len(p) < TokenSize || !isHex(p[:TokenSize]) {
		return p, false
	}
	period := int64(s.now() / tokenTime)
	for _, at := range []int64{period, period - 1} {
		if hmac.Equal(p[:TokenSize], s.secret.of(a, at)) {
			rest = p[TokenSize:]
			if len(rest) > 0 && rest[0] == '\r' {
				rest = rest[1:]
			}
			if len(rest) > 0 && rest[0] == '\n' {
				rest = rest[1:]
			}
			return rest, true
		}
	}
	return p, false
}

func isHex(p []byte) bool {
	for _, b := range p {
		if (b < '0' || b > '9') && (b < 'a' || b > 'f') {
			return false
		}
	}
	return true
}
