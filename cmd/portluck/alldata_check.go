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
		Short: "Verify the events of a store that no server has open",
		Long: `check reads the whole store in DIR and changes nothing. It verifies that each page of the file is
either free or in use once, that the keys are in order and can be found, and that each event has the
checksum that it was stored with. "serve --alldata DIR" does the same when it starts.

check reports the first damage that it finds. The exit code is 0 if the store is intact, 1 if it is
damaged, cannot be read or is open in a server, and 2 if the command line was wrong.`,
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
				return fmt.Errorf("there is no store in %s; give the directory of serve --alldata", s.Dir)
			case errors.Is(err, alldata.ErrInUse):
				return fmt.Errorf("%w: end that process, or wait longer for it (--wait)", err)
			case err != nil:
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d events, verified in %v\n", n, time.Since(start).Round(time.Millisecond))
			return err
		},
	}
	cmd.Flags().DurationVar(&s.LockTimeout, "wait", time.Second, "wait this long for a server that has the store open to end; 0 for no wait")
	return cmd
}
