package cli

import (
	"context"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestNearest(t *testing.T) {
	words := []string{"serve", "send", "chat", "put", "slots", "mesh", "max-conns", "max-conns-per-ip", "lan"}
	tests := []struct{ name, want string }{
		{"srve", "serve"},
		{"sevre", "serve"},
		{"servee", "serve"},
		{"SERVE", "serve"},
		{"sned", "send"},
		{"mehs", "mesh"},
		{"max-con", "max-conns"},
		{"maxconns", "max-conns"},
		{"max_conns", "max-conns"},
		{"max-conns-perip", "max-conns-per-ip"},
		{"la", "lan"},
		{"lna", "lan"},
		{"nonsense", ""},
		{"", ""},
		{"x", ""},
		{strings.Repeat("serve", 1000), ""},
	}
	for _, tt := range tests {
		if got := Nearest(tt.name, words); got != tt.want {
			t.Errorf("Nearest(%.20q) = %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestDistance(t *testing.T) {
	tests := []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"a", "", 1},
		{"", "abc", 3},
		{"abc", "abc", 0},
		{"abc", "acb", 1},
		{"abc", "axc", 1},
		{"kitten", "sitting", 3},
		{"abcd", "badc", 2},
	}
	for _, tt := range tests {
		if got, back := distance(tt.a, tt.b), distance(tt.b, tt.a); got != tt.want || back != tt.want {
			t.Errorf("distance(%q, %q) = %d, %d, want %d", tt.a, tt.b, got, back, tt.want)
		}
	}
}

// The error for a misspelt command or flag suggests the right one.
func TestSuggestions(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"srve"}, `unknown command "srve" for "test"; did you mean serve?`},
		{[]string{"--max", "1", "srve"}, `unknown command "srve" for "test"; did you mean serve?`},
		{[]string{"help", "srve"}, `unknown command "srve" for "test"; did you mean serve?`},
		{[]string{"hlep"}, `unknown command "hlep" for "test"; did you mean help?`},
		{[]string{"store", "chek"}, `unknown command "chek" for "test store"; did you mean check?`},
		{[]string{"store", "nonsense"}, `unknown command "nonsense" for "test store"`},
		{[]string{"nonsense"}, `unknown command "nonsense" for "test"`},
		{[]string{"--mxa", "1"}, "unknown flag: --mxa; did you mean --max?"},
		{[]string{"serve", "--limt=1"}, "unknown flag: --limt; did you mean --limit?"},
		{[]string{"serve", "-limit=1"}, "unknown shorthand flag: 'l' in -limit=1; did you mean --limit?"},
		{[]string{"serve", "--nonsense"}, "unknown flag: --nonsense"},
		{[]string{"serve", "--limit", "x"}, `invalid argument "x" for "--limit" flag`},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			run := func(*cobra.Command, []string) error { return nil }
			root := &cobra.Command{Use: "test", Args: cobra.NoArgs, RunE: run}
			root.Flags().Int("max", 0, "")
			serve := &cobra.Command{Use: "serve", Args: Args(cobra.NoArgs), RunE: run}
			serve.Flags().Int("limit", 0, "")
			store := &cobra.Command{Use: "store", RunE: run}
			store.AddCommand(&cobra.Command{Use: "check", RunE: run})
			root.AddCommand(serve, store)
			Root(root).SetArgs(tt.args)
			_, err := root.ExecuteContextC(context.Background())
			if err == nil || !IsUsage(err) || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "mean") != strings.Contains(tt.want, "mean") {
				t.Errorf("the error is %v, want %s", err, tt.want)
			}
		})
	}
	root := Root(&cobra.Command{Use: "test", RunE: func(*cobra.Command, []string) error { return nil }})
	root.AddCommand(&cobra.Command{Use: "serve", Run: func(*cobra.Command, []string) {}})
	root.SetArgs([]string{"help", "serve"})
	root.SetOut(&strings.Builder{})
	if err := root.Execute(); err != nil {
		t.Errorf("help serve: %v", err)
	}
}
