package portluck

import (
	"os"
	"os/exec"
	"testing"
)

// aloneEnv names the test that a process runs alone.
const aloneEnv = "PORTLUCK_ALONE"

// alone runs a test that measures its process in a process of its own. It returns true in that
// process.
func alone(t *testing.T) bool {
	t.Helper()
	if os.Getenv(aloneEnv) == t.Name() {
		return true
	}
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=0")
	cmd.Env = append(os.Environ(), aloneEnv+"="+t.Name())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("in a process of its own: %v\n%s", err, out)
	}
	return false
}
