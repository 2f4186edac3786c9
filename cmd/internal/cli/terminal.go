package cli

import (
	"os"

	"github.com/mattn/go-isatty"
)

// IsTerminal reports whether f is a terminal. One with TERM=dumb does not count.
func IsTerminal(f *os.File) bool { return isatty.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb" }
