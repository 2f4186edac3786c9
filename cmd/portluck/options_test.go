package main

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/portluck/portluck/portluck"
	"github.com/spf13/pflag"
)

// checked parses flags and checks them, as serve does.
func checked(t *testing.T, args ...string) error {
	t.Helper()
	_, err := parsed(t, args...)
	return err
}

// parsed returns the options of the flags in args, and the error of their check.
func parsed(t *testing.T, args ...string) (o options, err error) {
	t.Helper()
	f := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	o.flags(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	err = o.check(f)
	return o, err
}

func TestCheckAddress(t *testing.T) {
	tests := []struct {
		addr       string
		tcp, other bool // valid for --debug and --listen; valid for --listen alone
	}{
		{":0", true, false},
		{":8100", true, false},
		{"localhost:8100", true, false},
		{"127.0.0.1:65535", true, false},
		{"0.0.0.0:1", true, false},
		{"[::]:1", true, false},
		{"[::1]:8100", true, false},
		{"[fe80::1%eth0]:8100", true, false},
		{"example.com:http", true, false},
		{"host-1.example:80", true, false},
		{"under_score:80", true, false},
		{"unix:/tmp/x.sock", false, true},
		{"unix:x", false, true},
		{"unix:@abstract", false, true},

		{"nonsense", false, false},
		{"8100", false, false},
		{"localhost", false, false},
		{"1.2.3.4:99999", false, false},
		{"1.2.3.4:65536", false, false},
		{"localhost:-1", false, false},
		{"localhost:+80", false, false},
		{"localhost:", false, false},
		{":", false, false},
		{"localhost: 80", false, false},
		{"localhost:no-such-service", false, false},
		{"1.2.3.256:80", false, false},
		{"1.2.3:80", false, false},
		{"::1:8100", false, false},
		{"[::1]", false, false},
		{"[nonsense]:80", false, false},
		{"[::g]:80", false, false},
		{"a b:80", false, false},
		{" localhost:80", false, false},
		{"a..b:80", false, false},
		{"http://localhost:8100", false, false},
		{"localhost:8100/", false, false},
		{"tcp:localhost:1", false, false},
		{"unix:", false, false},
		{"unix:a\x00b", false, false},
		{"unix:/" + strings.Repeat("long", 27), false, false},
	}
	for _, tt := range tests {
		t.Run(tt.addr, func(t *testing.T) {
			err := checked(t, "--listen", tt.addr)
			if got, want := err == nil, tt.tcp || tt.other; got != want {
				t.Errorf("--listen: %v, want ok %v", err, want)
			}
			if err != nil && (strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "--listen ")) {
				t.Errorf("%q is no line about --listen", err)
			}
			if err := checked(t, "--debug", tt.addr); err == nil != tt.tcp {
				t.Errorf("--debug: %v, want ok %v", err, tt.tcp)
			}
		})
	}
}

func TestCheckOrigin(t *testing.T) {
	tests := []struct {
		pattern string
		ok      bool
	}{
		{"*", true},
		{"example.com", true},
		{"EXAMPLE.com", true},
		{"example.com.", true},
		{"localhost", true},
		{"null", true}, // the origin of a sandboxed frame, or of a file
		{"xn--bcher-kva.example", true},
		{"under_score.example", true},
		{"*.example.com", true},
		{"*.example.com:*", true},
		{"dev-*.example.com", true},
		{"a.*.example.com", true},
		{"example.com:*", true},
		{"example.com:8080", true},
		{"example.com:80*", true},
		{"*:8080", true},
		{"*:*", true},
		{"127.0.0.1:8100", true},
		{"192.168.1.*", true},
		{"[::1]", true},
		{"[::1]:8100", true},
		{"[::1]:*", true},
		{"10.*.0.1", true},
		{"*.1.2.3.4", true},
		{"*.0.0.1", true}, // matches 127.0.0.1
		{"[fe80::*]", true},
		{"[::ffff:7f00:1]", true},

		{"", false},
		{" ", false},
		{"example.com ", false},
		{"a b", false},
		{"https://example.com", false},
		{"example.com/", false},
		{"example.com/path", false},
		{"user@example.com", false},
		{".example.com", false},
		{"*.", false},
		{"*.:*", false},
		{":*", false},
		{":8080", false},
		{"a..b", false},
		{"example.com:", false},
		{"example.com:0", false},
		{"example.com:080", false},
		{"example.com:65536", false},
		{"example.com:http", false},
		{"example.com:*:*", false},
		{"(", false},
		{"[", false},
		{"^example\\.com$", false},
		{"exam?le.com", false},
		{"bücher.example", false},
		{"1.2.3.256", false},
		{"*.3.2.3.256", false},
		{"[::ffff:127.0.0.1]", false}, // browsers write [::ffff:7f00:1]
		{"example.com:9999*", false},
		{"127.1", false},
		{"::1", false},
		{"[::1", false},
		{"[*]", false},
		{"[0*::1]", false},
		{"[0:0:0:0:0:0:0:1]", false},
		{"[fe80::1%eth0]", false},
		{"[127.0.0.1]", false},
		{"[::1]x", false},
	}
	for _, tt := range tests {
		t.Run(tt.pattern, func(t *testing.T) {
			err := checked(t, "--allow-origin", tt.pattern)
			if err == nil != tt.ok {
				t.Errorf("--allow-origin: %v, want ok %v", err, tt.ok)
			}
			if err != nil && (strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "--allow-origin ")) {
				t.Errorf("%q is no line about --allow-origin", err)
			}
		})
	}
	if err := checked(t, "--allow-origin", "good.example,,also.example"); err == nil {
		t.Error("an empty one between commas is accepted")
	}
}

// No flag accepts an empty string or an empty list, and no list accepts an empty element.
func TestCheckEmpty(t *testing.T) {
	var o options
	f := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	o.flags(f)
	f.VisitAll(func(flag *pflag.Flag) {
		_, isList := flag.Value.(pflag.SliceValue)
		if !isList && flag.Value.Type() != "string" {
			return
		}
		want := "--" + flag.Name + " "
		if err := checked(t, "--"+flag.Name, ""); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("--%s '': %v, want %s", flag.Name, err, want)
		}
		if !isList {
			return
		}
		for _, list := range []string{",", "localhost,", ",127.0.0.1"} {
			if err := checked(t, "--udp", "--slots-on-silence", "--"+flag.Name, list); err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("--%s '%s': %v, want %s", flag.Name, list, err, want)
			}
		}
	})
}

// The error for a wrong number, name or id names its flag.
func TestChecksNameTheFlag(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--max-conns", "-1"}, "--max-conns -1: "},
		{[]string{"--max-conns-per-ip", "-1"}, "--max-conns-per-ip -1: "},
		{[]string{"--max-partial", "-1"}, "--max-partial -1: "},
		{[]string{"--message-limit", "-1"}, "--message-limit -1: "},
		{[]string{"--compress-min", "-1"}, "--compress-min -1: "},
		{[]string{"--idle-timeout", "-1s"}, "--idle-timeout -1s: "},
		{[]string{"--ping-interval", "-1s"}, "--ping-interval -1s: "},
		{[]string{"--sniff-timeout", "0"}, "--sniff-timeout "},
		{[]string{"--max-slots", "-1"}, "--max-slots "},
		{[]string{"--mesh", "a b"}, "--mesh: "},
		{[]string{"--mesh", "a", "--mesh-id", "x"}, "--mesh-id: "},
		{[]string{"--host", "https://x"}, "--host "},
		{[]string{"--slots-on-silence", "--slots-from", "x"}, "--slots-from "},
		{[]string{"--udp", "--udp-trust", "x"}, "--udp-trust "},
		{[]string{"--alldata", "d", "--alldata-path", "x"}, "--alldata-path "},
		{[]string{"--callosum", "x"}, "--callosum "},
		{[]string{"--echo-stream", "x"}, "--echo-stream "},
	} {
		if err := checked(t, tt.args...); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %s", tt.args, err, tt.want)
		}
	}
}

func TestProxies(t *testing.T) {
	o := options{proxyFrom: []string{"10.0.0.0/8", "unix", "::1"}}
	got, err := o.proxies()
	want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128"), portluck.ProxyUnix}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("proxies() = %v, %v, want %v", got, err, want)
	}
	if len(o.proxyFrom) != 3 || o.proxyFrom[1] != "unix" {
		t.Errorf("the flag has become %q", o.proxyFrom)
	}
}
