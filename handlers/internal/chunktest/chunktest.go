// Package chunktest cuts a stream into chunks, as a network might, to test parsers.
package chunktest

import "math/rand/v2"

// Of cuts s into chunks of size bytes. The last one may be shorter.
func Of(s string, size int) (chunks [][]byte) {
	for len(s) > size {
		chunks, s = append(chunks, []byte(s[:size])), s[size:]
	}
	return append(chunks, []byte(s))
}

// At cuts s before each byte i for which cut(i) is true.
func At(s string, cut func(i int) bool) (chunks [][]byte) {
	from := 0
	for i := 1; i < len(s); i++ {
		if cut(i) {
			chunks, from = append(chunks, []byte(s[from:i])), i
		}
	}
	return append(chunks, []byte(s[from:]))
}

// Each yields every way to cut s if s is short. For a longer s it yields each cut in two, and 200
// random ways, which are the same in each run.
func Each(s string, yield func(chunks [][]byte) bool) {
	cuts := len(s) - 1
	if cuts <= 14 {
		for mask := range 1 << max(cuts, 0) {
			if !yield(At(s, func(i int) bool { return mask>>(i-1)&1 == 1 })) {
				return
			}
		}
		return
	}
	for at := 1; at < len(s); at++ {
		if !yield(At(s, func(i int) bool { return i == at })) {
			return
		}
	}
	r := rand.New(rand.NewPCG(1, uint64(len(s))))
	for n := range 200 {
		if !yield(At(s, func(int) bool { return r.IntN(1+n/4) == 0 })) {
			return
		}
	}
}
