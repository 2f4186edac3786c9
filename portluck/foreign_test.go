package portluck

import (
	"io"
	"regexp"
	"testing"

	"github.com/portluck/portluck/handlers"
	"github.com/portluck/portluck/matchers"
)

// wrapped is a matcher of the program that calls another one.
type wrapped struct{ matchers.Matcher }

// A matcher is asked in a goroutine of its own only if code of the program may run in it.
func TestForeignMatchers(t *testing.T) {
	t.Parallel()
	own := matchers.MatcherFunc(func(matchers.Hello) matchers.Verdict { return matchers.No })
	cmuxs := matchers.FromCmux(func(io.Reader) bool { return false })
	for _, tt := range []struct {
		name string
		m    matchers.Matcher
		want bool
	}{
		{"Any", matchers.Any(), false},
		{"Prefix", matchers.Prefix("x"), false},
		{"From", matchers.From(), false},
		{"Regexp", matchers.Regexp(regexp.MustCompile(`\Ax`), 0), false},
		{"HTTP1Header", matchers.HTTP1Header("A", "b"), false},
		{"SNI", matchers.SNI("x.example"), false},
		{"ALPN", matchers.ALPN("x"), false},
		{"TLSVersion", matchers.TLSVersion(0x304), false},
		{"all of them", matchers.All(matchers.TLS(), matchers.HTTP1(), matchers.WebSocket()), false},
		{"any of them", matchers.AnyOf(matchers.HTTP2(), matchers.SSH()), false},
		{"not one", matchers.Not(matchers.PROXY()), false},
		{"not all", matchers.Not(matchers.All(matchers.Any())), false},
		{"a func", own, true},
		{"a type", wrapped{matchers.Any()}, true},
		{"a pointer", &wrapped{matchers.Any()}, true},
		{"cmux's", cmuxs, true},
		{"all, one of them a func", matchers.All(matchers.Any(), own), true},
		{"any, one of them a func", matchers.AnyOf(own, matchers.Any()), true},
		{"not a func", matchers.Not(own), true},
		{"not all, one of them cmux's", matchers.Not(matchers.All(matchers.AnyOf(cmuxs))), true},
	} {
		s := &Server{}
		s.Handle("builtin", matchers.Prefix("y"), handlers.Refuse)
		s.Handle("tested", tt.m, handlers.Refuse)
		p := must(s.start())
		if got := p.foreign; got != tt.want {
			t.Errorf("%s: foreign is %t", tt.name, got)
		}
		s.Close()
	}
}
