package matchers_test

import (
	"math/rand/v2"
	"testing"

	"github.com/portluck/portluck/matchers"
	"github.com/portluck/portluck/matchers/matchertest"
	"github.com/portluck/portluck/testdata"
	"github.com/portluck/portluck/testdata/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// builtin has the matchers in the order of the port, by class.
var builtin = []struct {
	class string
	m     matchers.Matcher
}{
	{testdata.Proxy, matchers.PROXY()},
	{testdata.TLS, matchers.TLS()},
	{testdata.HTTP2, matchers.HTTP2()},
	{testdata.WebSocket, matchers.WebSocket()},
	{testdata.HTTP1, matchers.HTTP1()},
	{testdata.SSH, matchers.SSH()},
}

// classify asks the matchers in order, as the port does. It returns "" while an earlier matcher is
// undecided.
func classify(b []byte, eof bool) string {
	for _, r := range builtin {
		switch r.m.Match(matchers.Hello{Bytes: b, EOF: eof}) {
		case matchers.Yes:
			return r.class
		case matchers.No:
		default:
			return ""
		}
	}
	return testdata.Raw
}

func TestTranscriptsAreClassified(t *testing.T) {
	for _, tr := range testdata.All() {
		if got := classify(tr.Bytes, false); got != tr.Class {
			t.Errorf("%s: %q, want %q", tr.Name, got, tr.Class)
		}
		if got := classify(tr.Bytes, true); got != tr.Class {
			t.Errorf("%s with EOF: %q, want %q", tr.Name, got, tr.Class)
		}
	}
}

// arrive classifies b as it comes in segments. Bit i of cuts ends a segment after byte i.
func arrive(b []byte, cuts uint32) string {
	for i := range min(len(b), 24) {
		if cuts&(1<<i) != 0 {
			if class := classify(b[:i+1], false); class != "" {
				return class
			}
		}
	}
	return classify(b, false)
}

// However the first 24 bytes are split into segments, the class is the same: TRAPS part 2, rows 14
// and 15. A matcher is a pure function of what has come, so the classes of the 24 prefixes cover
// all 2^24 ways; some of the ways are tried too.
func TestTraps2Row15AnySegmentation(t *testing.T) {
	for _, tr := range testdata.All() {
		for n := range min(len(tr.Bytes), 24) + 1 {
			if class := classify(tr.Bytes[:n], false); class != "" && class != tr.Class {
				t.Errorf("%s: %q after %d bytes, want %q", tr.Name, class, n, tr.Class)
			}
		}
		for range 2000 {
			if cuts := rand.Uint32(); arrive(tr.Bytes, cuts) != tr.Class {
				t.Errorf("%s: cut at %b is %q, want %q", tr.Name, cuts, arrive(tr.Bytes, cuts), tr.Class)
			}
		}
		for range 200 {
			if n := rand.IntN(len(tr.Bytes)); classify(tr.Bytes[:n], false) != "" && classify(tr.Bytes[:n], false) != tr.Class {
				t.Errorf("%s: %q after %d bytes, want %q", tr.Name, classify(tr.Bytes[:n], false), n, tr.Class)
			}
		}
	}
}

func TestBuiltinsHoldTheContract(t *testing.T) {
	var samples [][]byte
	for _, tr := range testdata.All() {
		samples = append(samples, tr.Bytes)
	}
	for _, r := range builtin {
		matchertest.Check(t, r.m, samples...)
	}
	matchertest.Check(t, matchers.Any(), samples...)
	matchertest.Check(t, matchers.Prefix("GET ", "POST", "\x16"), samples...)
	matchertest.Check(t, matchers.Not(matchers.HTTP1()), samples...)
	matchertest.Check(t, matchers.All(matchers.HTTP1(), matchers.HTTP1Header("User-Agent", "x")), samples...)
	matchertest.Check(t, matchers.AnyOf(matchers.SNI("localhost"), matchers.ALPN("h2"), matchers.TLSVersion(0x0304)), samples...)
}
