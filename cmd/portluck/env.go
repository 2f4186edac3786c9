package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/portluck/portluck/cmd/internal/cli"
	"github.com/spf13/pflag"
)

// exclusions has the flags that have no say once another is given on the command line with such a value.
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

// fromEnvironment sets the flags that were not given from PORTLUCK_ variables, but for those that what was given excludes.
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
		name := "PORTLUCK_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
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
