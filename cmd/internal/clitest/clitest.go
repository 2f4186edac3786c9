// Package clitest holds the flags of a command and its commands to what their help says of 0.
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

// Numbers fails for each flag of a number or a duration whose help does not say what 0 means, that
// takes a negative value, or that takes 0 although its help says "more than". root makes the
// command; args are those of each command by its path, which the flag follows.
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

// number fails for one flag of cmd.
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
		cancel() // so that nothing runs for long, if it is not refused
		if err := r.ExecuteContext(ctx); !cli.IsUsage(err) {
			t.Errorf("%s --%s=%s: %v, want a mistake in the command line", cmd.CommandPath(), f.Name, value, err)
		}
	}
}

// commands are cmd and all below it.
func commands(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, sub := range cmd.Commands() {
		all = append(all, commands(sub)...)
	}
	return all
}
