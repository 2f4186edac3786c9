package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// Flags on the command line win over the environment.
func TestFlagsOverruleTheEnvironment(t *testing.T) {
	tests := []struct {
		name string
		env  []string
		args []string
		ok   func(*options) bool
	}{
		{"listen over lan", []string{"LAN=true"}, []string{"--listen", ":1"}, func(o *options) bool { return !o.lan }},
		{"listen over nonsense", []string{"LAN=nonsense"}, []string{"--listen", ":1"}, func(o *options) bool { return !o.lan }},
		{"lan over listen", []string{"LISTEN=:1"}, []string{"--lan"}, func(o *options) bool { return o.lan && o.listen == nil }},
		{"no lan leaves listen", []string{"LISTEN=:1"}, []string{"--lan=false"}, func(o *options) bool { return len(o.listen) == 1 }},
		{"lan in the environment", []string{"LAN=true"}, nil, func(o *options) bool { return o.lan }},
		{"the same flag", []string{"LISTEN=:1,:2"}, []string{"--listen", ":3"}, func(o *options) bool { return len(o.listen) == 1 }},
		{"no lan", []string{"LAN=true"}, []string{"--lan=false"}, func(o *options) bool { return !o.lan }},
		{"tls off over cert", []string{"CERT=c", "KEY=k"}, []string{"--tls", "off"}, func(o *options) bool { return o.tls == "off" }},
		{"tls dev over files", []string{"CERT=c", "KEY=k", "TLS=files"}, []string{"--tls", "dev"}, func(o *options) bool { return o.tls == "dev" }},
		{"tls files with the files", []string{"CERT=c", "KEY=k"}, []string{"--tls", "files"}, func(o *options) bool { return o.cert == "c" && o.key == "k" }},
		{"cert over tls", []string{"TLS=off"}, []string{"--cert", "c", "--key", "k"}, func(o *options) bool { return o.tls == "files" }},
		{"key of the environment", []string{"KEY=k"}, []string{"--cert", "c"}, func(o *options) bool { return o.tls == "files" && o.key == "k" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, v := range tt.env {
				name, value, _ := strings.Cut(v, "=")
				t.Setenv("PORTLUCK_"+name, value)
			}
			var o options
			f := pflag.NewFlagSet("serve", pflag.ContinueOnError)
			o.flags(f)
			if err := f.Parse(tt.args); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(fromEnvironment(f), o.check(f)); err != nil || !tt.ok(&o) {
				t.Errorf("%+v, %v", o, err)
			}
		})
	}
}

// Variables can still conflict with each other.
func TestEnvironmentConflicts(t *testing.T) {
	t.Setenv("PORTLUCK_LAN", "true")
	t.Setenv("PORTLUCK_LISTEN", ":1")
	var o options
	f := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	o.flags(f)
	if err := errors.Join(fromEnvironment(f), o.check(f)); err == nil {
		t.Error("--lan and --listen are accepted")
	}
}

// A variable that sets no flag gets a notice, which never has its value.
func TestMisspeltVariables(t *testing.T) {
	tests := []struct{ env, want string }{
		{"PORTLUCK_MAX_CONNS=1", ""},
		{"PORTLUCK_SAY=x", ""}, // the flag of another command
		{"PORTLUCK_MAX_CONN=secret", "PORTLUCK_MAX_CONN sets no flag; did you mean PORTLUCK_MAX_CONNS?"},
		{"PORTLUCK_MAXCONNS=secret", "PORTLUCK_MAXCONNS sets no flag; did you mean PORTLUCK_MAX_CONNS?"},
		{"PORTLUCK_max_conns=secret", "PORTLUCK_max_conns sets no flag; did you mean PORTLUCK_MAX_CONNS?"},
		{"PORTLUCK_ALLOW_ORIGINS=secret", "PORTLUCK_ALLOW_ORIGINS sets no flag; did you mean PORTLUCK_ALLOW_ORIGIN?"},
		{"PORTLUCK_ECOH=secret", "PORTLUCK_ECOH sets no flag; did you mean PORTLUCK_ECHO?"},
		{"PORTLUK_ECHO=secret", "PORTLUK_ECHO sets no flag; did you mean PORTLUCK_ECHO?"},
		{"portluck_echo=secret", "portluck_echo sets no flag; did you mean PORTLUCK_ECHO?"},
		{"PORTLUCK_8100_TCP_ADDR=secret", "no flag has the variable PORTLUCK_8100_TCP_ADDR"},
		{"PORTLUCK_HELP=secret", "no flag has the variable PORTLUCK_HELP"},
		{"PORTLUCK_=secret", "no flag has the variable PORTLUCK_"},
		{"PORTLUCK=secret", ""},
		{"PORTLUCK_MAX_CONN=", ""},
		{"PORTLOAD_CHILD=1", ""},
		{"PATH=secret", ""},
		{"XDG_CONFIG_HOME=secret", ""},
		{"", ""},
	}
	for _, tt := range tests {
		if got := strings.Join(misspelt(newRoot(), []string{tt.env}), "|"); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.env, got, tt.want)
		}
	}
	env := []string{"PORTLUCK_SERVICE_HOST=secret", "PORTLUCK_8100_TCP=secret"}
	if got, want := strings.Join(misspelt(newRoot(), env), "|"), "no flag has the variable PORTLUCK_SERVICE_HOST, PORTLUCK_8100_TCP"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
