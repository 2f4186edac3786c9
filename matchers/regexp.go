package matchers

import (
	"reflect"
	"regexp"
	"regexp/syntax"
	"unicode"
	"unicode/utf8"
)

// Regexp matches connections whose first bytes, up to limit, match re. Start re with \A. If limit
// is zero or negative, [TextWindow] is used; it is at most [Window].
//
// The matcher says Yes once no further bytes can undo the match, and No once none can complete
// one. An expression without \A could match later, so it stays undecided up to the limit. One that
// ends with $ matches only at the limit or at the end of the stream. Regexp panics if re is nil.
func Regexp(re *regexp.Regexp, limit int) Matcher {
	if re == nil {
		panic("matchers: Regexp: the expression is nil")
	}
	if limit <= 0 {
		limit = TextWindow
	}
	limit = min(limit, Window)
	programs := newRegexpPrograms(re)
	return builtin(func(h Hello) Verdict {
		b := h.Bytes[:min(len(h.Bytes), limit)]
		switch {
		case h.EOF || len(b) == limit:
			if re.Match(b) {
				return Yes
			}
			return No
		case len(programs) == 0:
			return Need(len(b) + 1)
		}
		v := programs[0].match(b)
		for _, other := range programs[1:] {
			if other.match(b) != v {
				return Need(len(b) + 1)
			}
		}
		return v
	})
}

// regexpProgram finds out whether more bytes can change a match. Several goroutines may use it at
// once.
type regexpProgram struct {
	*syntax.Prog
	anchored bool
	hopeful  []bool           // by instruction: whether a match can be reached from it
	idle     chan *[3]threads // reused between calls, as a matcher must not allocate
}

// newRegexpPrograms returns the program of re, or two programs one of which is that of re: the
// text of an expression does not tell whether it was made by [regexp.CompilePOSIX], in which ^
// matches at every line. If it returns none, re is decided only at the end.
func newRegexpPrograms(re *regexp.Regexp) (all []*regexpProgram) {
	perl := newRegexpProgram(re.String(), syntax.Perl)
	longest := reflect.ValueOf(re).Elem().FieldByName("longest")
	if perl != nil && longest.Kind() == reflect.Bool && !longest.Bool() {
		return append(all, perl) // those of CompilePOSIX are leftmost-longest
	}
	posix := newRegexpProgram(re.String(), syntax.POSIX)
	for _, p := range []*regexpProgram{perl, posix} {
		if p != nil && (len(all) == 0 || all[0].String() != p.String()) {
			all = append(all, p)
		}
	}
	return all
}

// newRegexpProgram returns the program of expr, or nil if expr does not have the syntax of flags.
func newRegexpProgram(expr string, flags syntax.Flags) *regexpProgram {
	parsed, err := syntax.Parse(expr, flags)
	if err != nil {
		return nil
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil
	}
	p := &regexpProgram{
		Prog: prog, anchored: prog.StartCond()&syntax.EmptyBeginText != 0,
		hopeful: make([]bool, len(prog.Inst)), idle: make(chan *[3]threads, idleThreads),
	}
	for again := true; again; {
		again = false
		for pc := range prog.Inst {
			if !p.hopeful[pc] && p.leads(&prog.Inst[pc]) {
				p.hopeful[pc], again = true, true
			}
		}
	}
	return p
}

// leads reports whether in is a match, or a hopeful instruction follows it.
func (p *regexpProgram) leads(in *syntax.Inst) bool {
	switch in.Op {
	case syntax.InstMatch:
		return true
	case syntax.InstFail:
		return false
	case syntax.InstRune:
		return len(in.Rune) > 0 && p.hopeful[in.Out] // an empty class matches no rune
	case syntax.InstAlt, syntax.InstAltMatch:
		return p.hopeful[in.Out] || p.hopeful[in.Arg]
	}
	return p.hopeful[in.Out]
}

// idleThreads is how many concurrent calls can reuse memory.
const idleThreads = 8

// match runs all threads of the program over b, as package regexp does.
func (p *regexpProgram) match(b []byte) Verdict {
	var t *[3]threads
	select {
	case t = <-p.idle:
	default:
		t = &[3]threads{}
		for i := range t {
			t[i] = newThreads(len(p.Inst))
		}
	}
	v := p.run(t, b)
	select {
	case p.idle <- t:
	default:
	}
	return v
}

// run is match with the memory of three thread sets, whose contents it overwrites.
func (p *regexpProgram) run(t *[3]threads, b []byte) Verdict {
	now, next := &t[0], &t[1]
	now.clear()
	before, at := rune(-1), 0
	for utf8.FullRune(b[at:]) {
		r, size := utf8.DecodeRune(b[at:])
		if p.begins(at) {
			now.push(uint32(p.Start))
		}
		if p.follow(now, syntax.EmptyOpContext(before, r)) {
			return Yes
		}
		next.clear()
		for _, pc := range now.all {
			if in := &p.Inst[pc]; consumes(in) && in.MatchRune(r) && p.hopeful[in.Out] {
				next.push(in.Out)
			}
		}
		before, at, now, next = r, at+size, next, now
		if len(now.all) == 0 && p.anchored {
			return No
		}
	}
	if p.begins(at) {
		now.push(uint32(p.Start))
	}
	switch matched, alive := p.end(now, &t[2], before, b[at:]); {
	case matched:
		return Yes
	case alive || !p.anchored && p.hopeful[p.Start]:
		return Need(len(b) + 1)
	}
	return No
}

// end judges the threads that are left at the end of the bytes so far, after the rune before and
// the incomplete rune part. matched reports whether they match whatever follows, alive whether
// something that may follow makes them match.
func (p *regexpProgram) end(now, scratch *threads, before rune, part []byte) (matched, alive bool) {
	matched = true
	low, high := partial(part)
	for i := range followers {
		f := &followers[i]
		if len(part) > 0 {
			if f.example != other {
				continue
			}
			f = &follower{other, []rune{low, high, utf8.RuneError, utf8.RuneError}}
		}
		scratch.clear()
		for _, pc := range now.all {
			scratch.push(pc)
		}
		if p.follow(scratch, syntax.EmptyOpContext(before, f.example)) {
			alive = true
			continue
		}
		matched = false
		for _, pc := range scratch.all {
			in := &p.Inst[pc]
			alive = alive || consumes(in) && p.hopeful[pc] && f.any(in)
		}
	}
	return matched, alive
}

// begins reports whether a match may begin at this offset.
func (p *regexpProgram) begins(at int) bool { return at == 0 || !p.anchored }

// threads is the set of instructions that the program is at: a sparse set.
type threads struct{ all, place []uint32 }

// newThreads makes room for n instructions.
func newThreads(n int) threads { return threads{make([]uint32, 0, n), make([]uint32, n)} }

func (t *threads) clear() { t.all = t.all[:0] }

func (t *threads) push(pc uint32) {
	if i := t.place[pc]; int(i) < len(t.all) && t.all[i] == pc {
		return
	}
	t.place[pc] = uint32(len(t.all))
	t.all = append(t.all, pc)
}

// follow adds to t the instructions that its threads reach without consuming a rune, where flags
// hold. It reports whether one of them is a match.
func (p *regexpProgram) follow(t *threads, flags syntax.EmptyOp) (matched bool) {
	for i := 0; i < len(t.all); i++ {
		switch in := &p.Inst[t.all[i]]; in.Op {
		case syntax.InstMatch:
			matched = true
		case syntax.InstAlt, syntax.InstAltMatch:
			t.push(in.Out)
			t.push(in.Arg)
		case syntax.InstCapture, syntax.InstNop:
			t.push(in.Out)
		case syntax.InstEmptyWidth:
			if syntax.EmptyOp(in.Arg)&^flags == 0 {
				t.push(in.Out)
			}
		}
	}
	return matched
}

// consumes reports whether in consumes a rune.
func consumes(in *syntax.Inst) bool {
	switch in.Op {
	case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
		return true
	}
	return false
}

// A follower is a class of what may come next: the end, or a rune in ranges. The assertions of
// [syntax.EmptyOpContext] do not distinguish the members of one class.
type follower struct {
	example rune // -1 for the end
	ranges  []rune
}

// other is a rune that is neither the end of a line nor of a word.
const other = ' '

var followers = []follower{
	{-1, nil},
	{'\n', []rune{'\n', '\n'}},
	{'a', []rune{'0', '9', 'A', 'Z', '_', '_', 'a', 'z'}},
	{other, []rune{
		0, '\n' - 1, '\n' + 1, '0' - 1, '9' + 1, 'A' - 1, 'Z' + 1, '_' - 1, '`', '`', 'z' + 1, unicode.MaxRune,
	}},
}

// partial returns the first and the last rune whose encoding may begin with part (the Unicode
// Standard, table 3-7).
func partial(part []byte) (lo, hi rune) {
	if len(part) == 0 {
		return 0, 0
	}
	low, high := [utf8.UTFMax]byte{0x80, 0x80, 0x80, 0x80}, [utf8.UTFMax]byte{0xbf, 0xbf, 0xbf, 0xbf}
	switch part[0] {
	case 0xe0:
		low[1] = 0xa0
	case 0xed:
		high[1] = 0x9f
	case 0xf0:
		low[1] = 0x90
	case 0xf4:
		high[1] = 0x8f
	}
	copy(low[:], part)
	copy(high[:], part)
	lo, _ = utf8.DecodeRune(low[:])
	hi, _ = utf8.DecodeRune(high[:])
	return lo, hi
}

// any reports whether in consumes one of the runes.
func (f *follower) any(in *syntax.Inst) bool {
	switch in.Op {
	case syntax.InstRuneAny:
		return len(f.ranges) > 0
	case syntax.InstRuneAnyNotNL:
		return len(f.ranges) > 0 && f.example != '\n'
	}
	if len(in.Rune) > 1 {
		for i := 0; i < len(in.Rune); i += 2 {
			if f.has(in.Rune[i], in.Rune[i+1]) {
				return true
			}
		}
		return false
	}
	first := in.Rune[0] // and, under FoldCase, the runes that differ from it only in case
	for r := unicode.SimpleFold(first); syntax.Flags(in.Arg)&syntax.FoldCase != 0 && r != first; r = unicode.SimpleFold(r) {
		if f.has(r, r) {
			return true
		}
	}
	return f.has(first, first)
}

// has reports whether one of the runes lies between lo and hi, inclusive.
func (f *follower) has(lo, hi rune) bool {
	for i := 0; i < len(f.ranges); i += 2 {
		if lo <= f.ranges[i+1] && f.ranges[i] <= hi {
			return true
		}
	}
	return false
}
