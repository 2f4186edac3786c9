// Command portload measures a server: portluck, or any other that answers lines, HTTP POSTs or
// WebSocket messages.
//
//	portload conn ADDR      short connections: connect, send a line, read its echo, close
//	portload echo ADDR      clients with messages in flight: messages a second, and their latency
//	portload idle ADDR      connections that say nothing: what one more of them costs
//	portload fanout ADDR    one publishes, many receive: deliveries a second, and what was lost
package main

import (
	"context"
	"fmt"
	"os"
	"syscall"

	"github.com/portluck/portluck/cmd/internal/cli"
	"github.com/spf13/cobra"
)

func main() { os.Exit(run()) }

// run runs the command and returns the exit code: 1 also if a part of the load failed.
func run() int {
	if os.Getenv(childEnv) != "" {
		return runChild()
	}
	ctx, stop := cli.UntilSignal(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, stop)() // the second Ctrl-C ends at once
	return cli.Run(ctx, newRoot())
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "portload",
		Short: "Measure a server: connections, messages, idle memory, fan-out",
		Long: `portload puts a load on a server and reports what it did. With --pid of a server on the same machine it also reports
the server's CPU time and memory, so that the figure is "messages per CPU second" and does not depend on what else runs.

The exit code is 0, or 1 if a connection or message failed or was lost (the figures are printed all the same), or 2 if
the command line was wrong. Ctrl-C ends the load and prints what was measured so far. On a terminal a line shows the
time, what was done, the rate and the p99 while the load runs; --json has none.

A program that measures, such as .ci/bench, adds --json and --rounds: it writes a line to begin a measurement, and reads
one JSON object.`,
		Example: `  portluck serve --echo --listen 127.0.0.1:8100 &
  portload conn 127.0.0.1:8100 --pid $!
  portload echo 127.0.0.1:8100 --proto ws --clients 50 --depth 10 --pid $!`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddCommand(newConn(), newEcho(), newIdle(), newFanout(), newJSON())
	return cli.Root(root)
}

// oneAddr returns an error unless there is exactly one argument.
func oneAddr(_ *cobra.Command, list []string) error {
	if len(list) != 1 {
		return cli.Usage(fmt.Errorf("one ADDR (host:port) is needed, not %d", len(list)))
	}
	return nil
}
