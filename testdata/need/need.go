// Package need skips tests that need what a machine may not have, and those that take long.
package need

import (
	"fmt"
	"os"
	"os/exec"
)

// Variables of the environment.
const (
	programsEnv = "TEST_PROGRAMS" // if set, an absent program is a failure: CI installs them all
	longEnv     = "TEST_LONG"     // if set, the long forms of tests run
)

// T is a test or a script of testscript.
type T interface {
	Skip(args ...any)
	Fatal(args ...any)
}

// Program returns the path of a program. The test skips if the program is absent.
func Program(t T, name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		absent(t, name)
	}
	return path
}

// Python returns the path of a Python that has this module. The test skips if there is none.
func Python(t T, module string) string {
	const path = "/usr/bin/python3" // the one that Debian's packages are for
	if exec.Command(path, "-c", "import "+module).Run() != nil {
		absent(t, "python3-"+module)
	}
	return path
}

func absent(t T, name string) {
	if os.Getenv(programsEnv) != "" {
		t.Fatal(fmt.Sprintf("%s is not installed, and %s is set", name, programsEnv))
	}
	t.Skip(name + " is not installed")
}

// Long reports whether the long forms of tests run.
func Long() bool { return os.Getenv(longEnv) != "" }
