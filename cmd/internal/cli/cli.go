// Package cli has what the commands share: usage errors and suggestions, signals and exit codes.
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

// Usage marks err as a mistake in the command line, for which [Run] returns 2.
func Usage(err error) error { return usageError{err} }

// IsUsage reports whether err is a mistake in the command line.
func IsUsage(err error) bool { return errors.As(err, new(usageError)) }

// Args returns check with its errors marked as mistakes in the command line. The errors also say
// how the command is used.
func Args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, list []string) error {
		if err := check(cmd, list); err != nil {
			return Usage(fmt.Errorf("%w; usage: %s", err, cmd.UseLine()))
		}
		return nil
	}
}

// Root prepares root, to which all commands must have been added, for [Run]. Errors of flags become
// mistakes in the command line, those of misspelt commands and flags suggest the right word, and
// only Run prints errors.
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

// groups makes cmd refuse every argument as an unknown command if it has commands of its own or is
// the root. It does the same for the commands below cmd.
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

// Run executes root, prints its error, and returns the exit code: 0, 1 if root failed, or 2 if the
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

// Say writes text to standard error. It waits for that for at most a second, so that a command goes
// on, and ends, even if the reader of its pipe has stopped reading.
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
