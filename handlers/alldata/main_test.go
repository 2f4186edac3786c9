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

// asChild names the environment variable that makes this test binary a process to be killed; its
// value is what it does.
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

// all is what a store has, as KEY=EVENT.
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

// mustPut puts what must be taken.
func mustPut(t testing.TB, s *Store, key, event string) {
	t.Helper()
	if err := s.Put(context.Background(), key, json.RawMessage(event)); err != nil {
		t.Fatalf("Put(%q) = %v", key, err)
	}
}

// eventOf is the event that the tests put under a key: of a length that varies.
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

// each runs f for 0 to n-1, in goroutines.
func each(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) }) // ends with f
	}
	wg.Wait()
}
