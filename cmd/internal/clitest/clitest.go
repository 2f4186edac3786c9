// Package clitest is what the tests of commands have in common: it checks that flags treat 0 and
// negative numbers as their help says, and it opens pseudo terminals.
package clitest

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/portluck/portluck/cmd/internal/cli"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var (
	saysZero = regexp.MustCompile(`\b0\b|more than \d`)
	refuses  = regexp.MustCompile(`more than \d`)
)

// Numbers checks each flag of root and its commands that is a number or a duration. The test fails
// if the flag's help does not say what 0 means, if the flag accepts a negative value, or if it
// accepts 0 although its help says "more than". root returns a new root command; args has the
// arguments of each command by its path.
func Numbers(t *testing.T, root func() *cobra.Command, args map[string][]string) {
	t.Helper()
	for _, cmd := range commands(root()) {
		list, known := args[cmd.CommandPath()]
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			switch {
			case !slices.Contains([]string{"int", "int64", "duration", "float64"}, f.Value.Type()):
			case !known:
				t.Errorf("%s has numbers, and no arguments here", cmd.CommandPath())
			default:
				number(t, root, cmd, list, f)
			}
		})
	}
}

// number checks the flag f of cmd, with the arguments in list.
func number(t *testing.T, root func() *cobra.Command, cmd *cobra.Command, list []string, f *pflag.Flag) {
	t.Helper()
	if !saysZero.MatchString(f.Usage) {
		t.Errorf("%s --%s: %q does not say what 0 means", cmd.CommandPath(), f.Name, f.Usage)
	}
	values := []string{"-1", "-1000000"}
	if refuses.MatchString(f.Usage) {
		values = append(values, "0")
	}
	for _, value := range values {
		if f.Value.Type() == "duration" {
			value += "s"
		}
		r := root()
		r.SetArgs(slices.Concat(strings.Fields(cmd.CommandPath())[1:], list, []string{"--" + f.Name + "=" + value}))
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // a command that accepts the value must not run for long
		if err := r.ExecuteContext(ctx); !cli.IsUsage(err) {
			t.Errorf("%s --%s=%s: %v, want a mistake in the command line", cmd.CommandPath(), f.Name, value, err)
		}
	}
}

// commands returns cmd and all commands below it.
func commands(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, sub := range cmd.Commands() {
		all = append(all, commands(sub)...)
	}
	return all
}
