// Package need skips tests that need what a machine may not have, and tests that take long.
package need

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
)

// Environment variables.
const (
	// If programsEnv is set, an absent program is a failure. CI sets it, as it installs them all.
	programsEnv = "TEST_PROGRAMS"
	longEnv     = "TEST_LONG" // if set, tests run in their long forms
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
	const path = "/usr/bin/python3" // the one for which Debian packages modules
	if exec.Command(path, "-c", "import "+module).Run() != nil {
		absent(t, "python3-"+module)
	}
	return path
}

// IPv6 skips a test on a machine whose loopback has no ::1.
func IPv6(t T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		absent(t, "IPv6")
		return
	}
	_ = l.Close()
}

// Namespaces returns the path of ip, with which a test makes network namespaces, virtual links and
// bridges. It skips the test unless TEST_PROGRAMS is set, and also if the machine cannot make them.
func Namespaces(t T) (ip string) {
	if os.Getenv(programsEnv) == "" {
		t.Skip("makes network namespaces: set " + programsEnv + "=1, as root, to run it")
	}
	ip = Program(t, "ip")
	if why := noNamespaces(); why != "" {
		t.Skip("this machine makes no network namespaces: " + why)
	}
	return ip
}

// noNamespaces returns why network namespaces cannot be made, or "" if they can.
var noNamespaces = sync.OnceValue(func() string {
	ns := fmt.Sprintf("need%d", os.Getpid())
	defer exec.Command("ip", "netns", "del", ns).Run() // fails if it was not made
	for _, args := range []string{
		"netns add NS", "-n NS link add need0 type bridge", "-n NS link add need1 type veth peer name need2",
	} {
		out, err := exec.Command("ip", strings.Fields(strings.ReplaceAll(args, "NS", ns))...).CombinedOutput()
		if err != nil {
			return fmt.Sprintf("ip %s: %v: %s", args, err, out)
		}
	}
	return ""
})

// Node returns the path of Node and a directory in which it finds this module of .ci/clients, where
// npm ci installs it. The test skips if there is none.
func Node(t T, module string) (path, dir string) {
	path = Program(t, "node")
	_, file, _, _ := runtime.Caller(0)
	dir = filepath.Join(filepath.Dir(file), "..", "..", ".ci", "clients")
	cmd := exec.Command(path, "-e", "require('"+module+"')")
	cmd.Dir = dir
	if cmd.Run() != nil {
		absent(t, "node's "+module)
	}
	return path, dir
}

func absent(t T, name string) {
	if os.Getenv(programsEnv) != "" {
		t.Fatal(fmt.Sprintf("%s is not installed, and %s is set", name, programsEnv))
	}
	t.Skip(name + " is not installed")
}

// Long reports whether tests run in their long forms.
func Long() bool { return os.Getenv(longEnv) != "" }
