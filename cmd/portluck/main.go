// Command portluck is the demo server of package portluck, and a client for trying it.
//
//	portluck                      serve a chat room on localhost:8100, over every protocol
//	portluck send URL [MSG...]    send messages and print the answers
//	portluck chat URL             talk in the room
//	portluck put URL [KEY] EVENT  put an event into an AllData store
//	portluck alldata check DIR    verify the events of an AllData store
//	portluck slots ADDR...        show the slots of callosum servers
//	portluck mesh NAME            show who is in a mesh, and what they say
package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/portluck/portluck/cmd/internal/cli"
	"github.com/portluck/portluck/cmd/portluck/internal/chat"
	"github.com/spf13/cobra"
)

func main() { os.Exit(run()) }

// run is main, but returns the exit code.
func run() int { return cli.Run(context.Background(), newRoot()) }

func newRoot() *cobra.Command {
	serve := newServe()
	root := &cobra.Command{
		Use:   "portluck",
		Short: "One port, every protocol: a chat room for browsers, curl, nc and openssl",
		Long: `portluck serves HTTP/1.1, HTTP/2, HTTPS, WebSocket, WSS, raw TCP and raw TLS on one port, and with --udp also UDP.

Without a command it runs "portluck serve": a chat room that every client joins, whatever protocol it speaks.

Each flag of each command can also be set in the environment: --max-conns is PORTLUCK_MAX_CONNS, --lan is
PORTLUCK_LAN=true. If a flag may be repeated, its variable has the values separated by commas. An empty variable
counts as unset. A variable that sets no flag gets a warning. A flag on the command line wins over its variable, and
over those of the flags that it excludes: --listen over PORTLUCK_LAN.

The exit code is 0, 1 if something failed, or 2 if the command line was wrong.`,
		Example: serve.Example,
		Version: version(),
		RunE:    serve.RunE,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			for _, notice := range misspelt(cmd.Root(), os.Environ()) {
				cli.Say(fmt.Sprintln("portluck:", chat.Clean(notice)))
			}
			return fromEnvironment(cmd.Flags())
		},
	}
	root.SetVersionTemplate("portluck {{.Version}}\n")
	root.Flags().AddFlagSet(serve.Flags())
	root.AddCommand(serve, newSend(), newChat(), newPut(), newAllData(), newSlots(), newMesh(), newMan(root))
	return cli.Root(root)
}

// version returns the version of the module, or the commit that it was built from, and the Go
// version.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" || v == "(devel)" {
		v = "devel"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && v == "devel" {
			v += " " + s.Value[:min(12, len(s.Value))]
		}
	}
	return v + " " + info.GoVersion
}
