package leak

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// asChild names the environment variable that makes this test binary leak goroutines.
const asChild = "LEAK_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(asChild) {
	case "":
	case "ends late":
		os.Exit(run(m, grace))
	default:
		os.Exit(run(m, 50*time.Millisecond))
	}
	Main(m)
}

func TestStray(t *testing.T) {
	end := make(chan struct{})
	started := make(chan struct{})
	go func() { // ends with the test
		close(started)
		<-end
	}()
	<-started
	if got := wait(0); !strings.Contains(got, "TestStray.func1") {
		t.Errorf("wait(0) = %q, want the goroutine of this test", got)
	}
	close(end)
	if got := wait(grace); strings.Contains(got, "TestStray.func1") {
		t.Errorf("wait() = %q after it has ended", got)
	}
}

// TestChild is run by TestMainFails, in a process of its own.
func TestChild(t *testing.T) {
	switch os.Getenv(asChild) {
	case "leaks":
		started := make(chan struct{})
		go func() { // ends with the process
			close(started)
			select {}
		}()
		<-started
	case "fails":
		t.Error("wrong")
	case "ends late":
		go time.Sleep(10 * time.Millisecond) // ends within the grace
	}
}

func TestMainFails(t *testing.T) {
	for _, tc := range []struct {
		name string
		code int
		want string
	}{
		{"ends late", 0, "PASS"},
		{"leaks", 1, "TestChild.func1"},
		{"fails", 1, "--- FAIL: TestChild"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
			cmd.Env = append(os.Environ(), asChild+"="+tc.name)
			out, err := cmd.CombinedOutput()
			if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if got := cmd.ProcessState.ExitCode(); got != tc.code || !strings.Contains(string(out), tc.want) {
				t.Errorf("exit code %d, want %d, with %q in %s", got, tc.code, tc.want, out)
			}
		})
	}
}
