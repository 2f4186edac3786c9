// Package cli is what the commands have in common: how they end.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// A usageError is a mistake in the command line.
type usageError struct{ error }

// Usage makes err a mistake in the command line: [Run] returns 2.
func Usage(err error) error { return usageError{err} }

// IsUsage reports whether err is a mistake in the command line.
func IsUsage(err error) bool { return errors.As(err, new(usageError)) }

// Args makes a mistake that check finds in the arguments one in the command line, and tells how the
// command is used.
func Args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, list []string) error {
		if err := check(cmd, list); err != nil {
			return Usage(fmt.Errorf("%w: it is %s", err, cmd.UseLine()))
		}
		return nil
	}
}

// Root leaves it to [Run] to tell of root's errors, makes those of its flags mistakes in the
// command line, and tells of a misspelt command or flag what was meant. The commands were added to
// root before.
func Root(root *cobra.Command) *cobra.Command {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetFlagErrorFunc(flagError)
	groups(root)
	root.InitDefaultHelpCmd()
	argsOfHelp := func(_ *cobra.Command, list []string) error {
		if found, _, _ := root.Find(list); len(list) > 0 && found == root {
			return unknownCommand(root, list[0])
		}
		return nil
	}
	for _, c := range root.Commands() {
		if c.Name() == "help" {
			c.Args = argsOfHelp
		}
	}
	return root
}

// groups makes an argument of cmd, or of a command below it, that should be one of its commands a
// misspelt one.
func groups(cmd *cobra.Command) {
	if cmd.HasSubCommands() || !cmd.HasParent() {
		cmd.Args = func(cmd *cobra.Command, list []string) error {
			if len(list) > 0 {
				return unknownCommand(cmd, list[0])
			}
			return nil
		}
	}
	for _, c := range cmd.Commands() {
		groups(c)
	}
}

// Run executes a root, tells of an error, and returns the exit code: 0, 1 if it failed, 2 if the
// command line was wrong.
func Run(ctx context.Context, root *cobra.Command) int {
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	text, code := fmt.Sprintf("%s: %v\n", root.Name(), err), 1
	if IsUsage(err) || strings.HasPrefix(err.Error(), "unknown command") {
		text, code = text+fmt.Sprintf("Try: %s --help\n", cmd.CommandPath()), 2
	}
	Say(text)
	return code
}

// Say writes text to standard error, as long as somebody takes it: a command goes on, and ends,
// also when the reader of its pipe stands still.
func Say(text string) {
	done := make(chan struct{})
	go func() { // ends with the write, or with the process
		defer close(done)
		_, _ = os.Stderr.WriteString(text)
	}()
	select {
	case <-done:
	case <-time.After(time.Second):
	}
}
