package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/portluck/portluck/cmd/internal/cli"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// exclusions lists the flags whose variables are ignored if another flag is given on the command
// line with a matching value.
var exclusions = []struct {
	given string
	when  func(value string) bool
	out   []string
}{
	{"listen", always, []string{"lan"}},
	{"lan", isTrue, []string{"listen"}},
	{"tls", isWithoutFiles, []string{"cert", "key"}},
	{"cert", always, []string{"tls"}},
	{"key", always, []string{"tls"}},
	{"ca", always, []string{"insecure"}},
	{"insecure", isTrue, []string{"ca"}},
}

func always(string) bool               { return true }
func isTrue(value string) bool         { return value == "true" }
func isWithoutFiles(value string) bool { return value == "dev" || value == "off" }

// fromEnvironment sets flags that were not given from their PORTLUCK_ variables. It skips those
// that a given flag excludes.
func fromEnvironment(flags *pflag.FlagSet) error {
	settled := []string{"help", "version"}
	flags.Visit(func(f *pflag.Flag) {
		settled = append(settled, f.Name)
		for _, e := range exclusions {
			if e.given == f.Name && e.when(f.Value.String()) {
				settled = append(settled, e.out...)
			}
		}
	})
	var wrong error
	flags.VisitAll(func(f *pflag.Flag) {
		name := variable(f)
		value := os.Getenv(name)
		if value == "" || slices.Contains(settled, f.Name) || wrong != nil {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			wrong = cli.Usage(fmt.Errorf("%s=%q: %w", name, value, err))
		}
	})
	return wrong
}

// envPrefix begins the name of each flag's variable.
const envPrefix = "PORTLUCK_"

// variable returns the name of the variable that sets f.
func variable(f *pflag.Flag) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
}

// misspelt returns a notice for each variable in env that seems meant to set a flag of a command of
// root but does not. This is no error: the environment may hold unrelated variables, such as those
// of Kubernetes for a service called portluck.
func misspelt(root *cobra.Command, env []string) (notices []string) {
	known := flagVariables(root)
	var strange []string
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		prefix, word, ok := strings.Cut(name, "_")
		ours := prefix+"_" == envPrefix
		if !ok || value == "" || ours && slices.Contains(known, word) || !ours && cli.Nearest(prefix, []string{"PORTLUCK"}) == "" {
			continue
		}
		if nearest := cli.Nearest(word, known); nearest != "" {
			notices = append(notices, fmt.Sprintf("%s sets no flag; did you mean %s?", name, envPrefix+nearest))
		} else if ours {
			strange = append(strange, name)
		}
	}
	if len(strange) > 0 {
		notices = append(notices, "no flag has the variable "+strings.Join(strange, ", "))
	}
	return notices
}

// flagVariables returns the variables, without the prefix, of the flags of root and all commands.
func flagVariables(root *cobra.Command) (all []string) {
	add := func(f *pflag.Flag) {
		if f.Name != "help" && f.Name != "version" {
			all = append(all, strings.TrimPrefix(variable(f), envPrefix))
		}
	}
	root.Flags().VisitAll(add)
	for _, cmd := range root.Commands() {
		cmd.Flags().VisitAll(add)
	}
	return all
}
