// Package cli is what the commands have in common: how they end.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// A usageError is a mistake in the command line.
type usageError struct{ error }

// Usage makes err a mistake in the command line: [Run] returns 2.
func Usage(err error) error { return usageError{err} }

// IsUsage says whether err is a mistake in the command line.
func IsUsage(err error) bool { return errors.As(err, new(usageError)) }

// Args makes a mistake that check finds in the arguments one in the command line.
func Args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, list []string) error {
		if err := check(cmd, list); err != nil {
			return Usage(err)
		}
		return nil
	}
}

// Root leaves it to [Run] to tell of root's errors, and makes those of its flags mistakes in the command line.
func Root(root *cobra.Command) *cobra.Command {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return Usage(err) })
	return root
}

// Run executes a root, tells of an error, and returns the exit code: 0, 1 if it failed, 2 if the command line was wrong.
func Run(ctx context.Context, root *cobra.Command) int {
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", root.Name(), err)
	if IsUsage(err) || strings.HasPrefix(err.Error(), "unknown command") {
		fmt.Fprintf(os.Stderr, "Try: %s --help\n", cmd.CommandPath())
		return 2
	}
	return 1
}
