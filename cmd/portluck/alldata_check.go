package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/portluck/portluck/cmd/internal/cli"
	"github.com/portluck/portluck/handlers/alldata"
	"github.com/spf13/cobra"
)

func newAllData() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "alldata",
		Short: "Look after a directory of serve --alldata",
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCheck())
	return cmd
}

func newCheck() *cobra.Command {
	s := &alldata.Store{}
	cmd := &cobra.Command{
		Use:   "check DIR",
		Short: "Verify the events of a directory that nobody has open",
		Long: `check reads the whole store in DIR and changes nothing. It verifies that each page of the file is in
use once or free, that all keys are in order and each is where it is looked for, and that each event
has the checksum that it was stored with. "serve --alldata DIR" does the same when it starts.

The exit code is 0 when all is as it was written, 1 when it is not, or cannot be read, or a server has
it open, and 2 if the command line was wrong. check reports the first damage that it finds.`,
		Example: "  portluck alldata check events",
		Args:    cli.Args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, list []string) error {
			if s.LockTimeout < 0 {
				return cli.Usage(errors.New("--wait must be 0 or more"))
			}
			s.Dir, s.LockTimeout = list[0], cmp.Or(s.LockTimeout, 1)
			start := time.Now()
			n, err := s.Check()
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return fmt.Errorf("there is no store in %s", s.Dir)
			case err != nil:
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d events, verified in %v\n", n, time.Since(start).Round(time.Millisecond))
			return err
		},
	}
	cmd.Flags().DurationVar(&s.LockTimeout, "wait", time.Second, "wait this long for a server that has it open; 0 does not wait")
	return cmd
}
