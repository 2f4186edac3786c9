// Package matchertest tests matchers against the contract of package matchers.
package matchertest

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/portluck/portluck/matchers"
)

// Check reports to t what m does wrong with any of the samples, first bytes that clients may send:
// it must
//
//   - not panic, and not change the bytes,
//   - keep to a Yes or a No when more bytes come, however they are cut into segments,
//   - ask with Need for more than there is, and not change its mind with fewer,
//   - decide at the end of the stream and at [matchers.Window],
//   - not allocate.
func Check(t testing.TB, m matchers.Matcher, samples ...[]byte) {
	t.Helper()
	for _, s := range append(samples, nil, make([]byte, matchers.Window), bytes.Repeat([]byte("a "), matchers.Window/2+1)) {
		if err := Verify(m, s); err != nil {
			t.Errorf("%.40q: %v", s, err)
		}
	}
}

// Verify is Check for one sample, for use in fuzz tests. It returns the first violation as an
// error.
func Verify(m matchers.Matcher, sample []byte) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	if err := checkPrefixes(m, sample); err != nil {
		return err
	}
	if v := m.Match(matchers.Hello{Bytes: sample, EOF: true}); v != matchers.Yes && v != matchers.No {
		return fmt.Errorf("undecided (%d) at the end of the stream", v)
	}
	if v := m.Match(matchers.Hello{Bytes: sample}); len(sample) >= matchers.Window && v != matchers.Yes && v != matchers.No {
		return fmt.Errorf("undecided (%d) at Window", v)
	}
	h := matchers.Hello{Bytes: sample}
	if n := testing.AllocsPerRun(10, func() { m.Match(h) }); n > 0 {
		return fmt.Errorf("%v allocations", n)
	}
	return nil
}

// checkPrefixes matches growing prefixes of sample: byte by byte at first, later in larger steps.
func checkPrefixes(m matchers.Matcher, sample []byte) error {
	b := bytes.Clone(sample)
	decided, need := matchers.Verdict(1), 0
	for n := 0; n <= len(b); n += 1 + n/512 {
		v := m.Match(matchers.Hello{Bytes: b[:n:n]})
		final := v == matchers.Yes || v == matchers.No
		switch {
		case !bytes.Equal(b, sample):
			return fmt.Errorf("the bytes were changed")
		case decided <= 0 && v != decided:
			return fmt.Errorf("verdict %d after %d bytes, but %d before", v, n, decided)
		case final && n < need:
			return fmt.Errorf("verdict %d after %d bytes, but it asked for %d", v, n, need)
		case !final && v.Needed() <= n:
			return fmt.Errorf("Need(%d) with %d bytes", v.Needed(), n)
		case final:
			decided = v
		default:
			need = v.Needed()
		}
	}
	return nil
}
