package alldata

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/portluck/portluck/testdata/leak"
)

// asChild names the environment variable that makes this test binary a child process, which is to
// be killed. Its value says what the child does.
const asChild = "ALLDATA_TEST_CHILD"

func TestMain(m *testing.M) {
	if what := os.Getenv(asChild); what != "" {
		child(what, os.Getenv("ALLDATA_TEST_DIR"))
		return
	}
	leak.Main(m)
}

// open opens a store until the test ends.
func open(t testing.TB, s *Store) *Store {
	t.Helper()
	if s.Dir == "" {
		s.Dir = t.TempDir()
	}
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return s
}

// all returns the entries of a store, as KEY=EVENT.
func all(t testing.TB, s *Store, from, to string) []string {
	t.Helper()
	var found []string
	for e, err := range s.Range(from, to) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, e.Key+"="+string(e.Event))
	}
	return found
}

// mustPut puts an event that the store must accept.
func mustPut(t testing.TB, s *Store, key, event string) {
	t.Helper()
	if err := s.Put(context.Background(), key, json.RawMessage(event)); err != nil {
		t.Fatalf("Put(%q) = %v", key, err)
	}
}

// eventOf returns the event that the tests put under a key. Its length varies.
func eventOf(key string) json.RawMessage {
	n := 0
	for _, c := range key {
		n = n*31%4099 + int(c)
	}
	pad := make([]byte, n%997)
	for i := range pad {
		pad[i] = 'a' + byte((n+i)%26)
	}
	return fmt.Appendf(nil, `{"of":%q,"pad":%q}`, key, pad)
}

// each runs f(0) to f(n-1), each in a goroutine, and waits for them.
func each(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) }) // ends with f
	}
	wg.Wait()
}
