package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Nearest returns the word that name is most likely a misspelling of, or "" if there is none.
func Nearest(name string, words []string) string {
	best, least := "", min(3, max(1, len(name)/2))+1
	for _, word := range words {
		if d := distance(strings.ToLower(name), strings.ToLower(word)); d < least {
			best, least = word, d
		}
	}
	return best
}

// DidYouMean returns the end of an error about name: a question with the nearest of words, or "" if
// there is none.
func DidYouMean(name string, words []string) string {
	if word := Nearest(name, words); word != "" {
		return fmt.Sprintf("; did you mean %s?", word)
	}
	return ""
}

// maxWord is the longest word that distance compares, in bytes.
const maxWord = 100

// distance returns how many letters must be inserted, dropped, replaced or swapped with the next
// one to turn a into b. If either is longer than maxWord, it returns the longer length.
func distance(a, b string) int {
	if len(a) > maxWord || len(b) > maxWord {
		return max(len(a), len(b))
	}
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			next[j] = min(replace, last[j]+1, next[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, last = last, next
	}
	return last[len(b)]
}

// unknownCommand returns the error for name, which is not a command of cmd.
func unknownCommand(cmd *cobra.Command, name string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() || c.Name() == "help" {
			names = append(names, c.Name())
		}
	}
	return Usage(fmt.Errorf("unknown command %q for %q%s", name, cmd.CommandPath(), DidYouMean(name, names)))
}

// flagError marks an error in the flags of cmd as a mistake in the command line. If a flag is
// misspelt, such as --max-con, or -lan with one dash, it suggests the right one.
func flagError(cmd *cobra.Command, err error) error {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return Usage(err)
	}
	name := unknown.GetSpecifiedName()
	if group := unknown.GetSpecifiedShortnames(); group != "" {
		name, _, _ = strings.Cut(group, "=")
	}
	var flags []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { flags = append(flags, f.Name) })
	if flag := Nearest(name, flags); flag != "" {
		return Usage(fmt.Errorf("%w; did you mean --%s?", err, flag))
	}
	return Usage(err)
}
