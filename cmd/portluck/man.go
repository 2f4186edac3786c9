package main

import (
	"os"
	"strings"

	"github.com/portluck/portluck/cmd/internal/cli"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

func newMan(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the man pages to a directory",
		Long: `man writes a man page for each command to DIR, which it makes if there is none. To read that of serve:
man DIR/portluck-serve.1`,
		Example: "  portluck man man",
		Args:    cli.Args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, list []string) error {
			if err := os.MkdirAll(list[0], 0o755); err != nil {
				return err
			}
			escapeUsages(root)
			return doc.GenManTree(root, &doc.GenManHeader{Title: "PORTLUCK", Section: "1", Source: "portluck"}, list[0])
		},
	}
}

// escapeUsages keeps the asterisks of the flags' usages, which the man pages' generator takes for
// Markdown.
func escapeUsages(cmd *cobra.Command) {
	escaped := map[*pflag.Flag]bool{} // commands share flags
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !escaped[f] {
				escaped[f] = true
				f.Usage = strings.ReplaceAll(f.Usage, "*", `\*`)
			}
		})
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(cmd)
}
