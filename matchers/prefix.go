package matchers

import (
	"fmt"
	"net/netip"
	"slices"
)

// Prefix matches connections that begin with one of words. Empty words are ignored; without others
// Prefix matches nothing. It panics if a word is longer than [Window].
func Prefix(words ...string) Matcher {
	for _, w := range words {
		if len(w) > Window {
			panic(fmt.Sprintf("matchers: Prefix: a word has up to %d bytes, not %d", Window, len(w)))
		}
	}
	words = slices.DeleteFunc(slices.Clone(words), func(s string) bool { return s == "" })
	return builtin(func(h Hello) Verdict {
		need := 0
		for _, w := range words {
			n := min(len(w), len(h.Bytes))
			switch {
			case string(h.Bytes[:n]) != w[:n]:
			case n == len(w):
				return Yes
			default:
				need = soonest(need, Need(n+1))
			}
		}
		if need == 0 {
			return No
		}
		return more(h, need)
	})
}

// SSH matches the identification string of an SSH client (RFC 4253, section 4.2).
func SSH() Matcher { return Prefix("SSH-") }

// From matches connections from these addresses, even before they have sent a byte. IPv4 prefixes
// also match IPv4 addresses that are mapped to IPv6. Without prefixes From matches nothing. It
// panics if a prefix is not valid.
func From(prefixes ...netip.Prefix) Matcher {
	for _, p := range prefixes {
		if !p.IsValid() {
			panic("matchers: From: a prefix that is not valid contains no address")
		}
	}
	prefixes = slices.Clone(prefixes)
	return builtin(func(h Hello) Verdict {
		addr := h.Remote.Addr().Unmap().WithZone("")
		for _, p := range prefixes {
			if p.Contains(addr) {
				return Yes
			}
		}
		return No
	})
}
