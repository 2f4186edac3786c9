package alldata_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/portluck/portluck/handlers/alldata"
	"github.com/portluck/portluck/portluck"
)

// A store behind the shared port: the store gets what is posted to /_put, the hub everything else.
func Example() {
	dir, err := os.MkdirTemp("", "alldata")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	store := &alldata.Store{Dir: dir}
	if err := store.Open(); err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()

	srv := &portluck.Server{}
	srv.Mount("/_put", &alldata.Handler{OnPut: store.Put})
	listeners, err := portluck.Listen("127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan error)
	go func() { served <- srv.Serve(listeners[0]) }() // ends with Shutdown

	peer := &alldata.Client{URL: "http://" + listeners[0].Addr().String() + "/_put"}
	ctx := context.Background()
	fmt.Println(peer.Put(ctx, "20261121T021541371000048000", json.RawMessage(`{"temperature": 21.5}`)))
	fmt.Println(peer.Put(ctx, "20261121T021541371000048000", json.RawMessage(`{"temperature": 21.5}`)))
	err = peer.Put(ctx, "20261121T021541371000048000", json.RawMessage(`{"temperature": 22}`))
	fmt.Println(err, errors.Is(err, alldata.ErrConflict))

	http.DefaultClient.CloseIdleConnections()
	fmt.Println(srv.Shutdown(ctx), <-served)
	// Output:
	// <nil>
	// <nil>
	// put, attempt 1: the peer answered 409 Conflict: the key has another event true
	// <nil> portluck: server closed
}

func ExampleHandler() {
	mux := http.NewServeMux()
	mux.Handle("/_put", &alldata.Handler{
		OnPut: func(_ context.Context, key string, event json.RawMessage) error {
			fmt.Printf("received request to put: %s %s\n", key, event)
			return nil // indicate success
		},
		OnError: func(r *http.Request, err error) { fmt.Println(r.Method, "failed:", err) },
	})
	for _, body := range []string{`{"key":"key1","event":{"foo":"bar"}}`, `{"event":{}}`} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("POST", "/_put", strings.NewReader(body)))
		fmt.Println(strings.TrimSpace(fmt.Sprint(w.Code, " ", w.Body)))
	}
	// Output:
	// received request to put: key1 {"foo":"bar"}
	// 201
	// POST failed: there is no key
	// 400 there is no key
}

func ExampleServer() {
	srv := &alldata.Server{Addr: "127.0.0.1:0", Handler: &alldata.Handler{
		OnPut: func(_ context.Context, key string, _ json.RawMessage) error {
			if key == "no" {
				return errors.New("process the put: failed")
			}
			return nil
		},
	}}
	addr, err := srv.Listen()
	if err != nil {
		fmt.Println(err)
		return
	}
	peer := &alldata.Client{URL: "http://" + addr.String(), Attempts: 1}
	fmt.Println(peer.Put(context.Background(), "yes", json.RawMessage("1")))
	fmt.Println(peer.Put(context.Background(), "no", json.RawMessage("1")))
	http.DefaultClient.CloseIdleConnections()
	fmt.Println(srv.Close())
	// Output:
	// <nil>
	// put, attempt 1: the peer answered 500 Internal Server Error
	// <nil>
}

func ExampleClient() {
	busy := 2
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if busy--; busy >= 0 {
			http.Error(w, "come again", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusCreated)
	}))
	defer srv.Close()
	defer http.DefaultClient.CloseIdleConnections()
	peer := &alldata.Client{
		URL: srv.URL, MinBackoff: time.Millisecond,
		OnRetry: func(_ string, attempt int, err error) { fmt.Println(attempt, err) },
	}
	fmt.Println(peer.Put(context.Background(), "key1", json.RawMessage(`{"foo":"bar"}`)))
	// Output:
	// 1 the peer answered 503 Service Unavailable: come again
	// 2 the peer answered 503 Service Unavailable: come again
	// <nil>
}

func ExampleStatusError() {
	err := fmt.Errorf("put: %w", &alldata.StatusError{Status: 409, Reason: "the key has another event"})
	var answer *alldata.StatusError
	fmt.Println(errors.As(err, &answer), answer.Status, errors.Is(err, alldata.ErrConflict))
	// Output: true 409 true
}

func ExampleStore() {
	dir, err := os.MkdirTemp("", "alldata")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	store := &alldata.Store{Dir: dir}
	if err := store.Open(); err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	noon := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, minutes := range []int{30, 0, 10} {
		at := noon.Add(time.Duration(minutes) * time.Minute)
		if err := store.Put(context.Background(), alldata.NewKey(at), json.RawMessage(at.Format(`"15:04"`))); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println(store.Len())
	for e, err := range store.Range(alldata.NewKey(noon), alldata.NewKey(noon.Add(time.Hour/2))) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(e.Key, string(e.Event))
	}
	// Output:
	// 3 <nil>
	// 20261121T120000000000000000 "12:00"
	// 20261121T121000000000000000 "12:10"
}

func ExampleEntry() {
	e := alldata.Entry{Key: "key1", Event: json.RawMessage(`{"foo":"bar"}`)}
	body, _ := json.Marshal(map[string]any{"key": e.Key, "event": e.Event})
	fmt.Println(string(body))
	// Output: {"event":{"foo":"bar"},"key":"key1"}
}

func ExampleKeygen() {
	clock := time.Date(2026, 11, 21, 2, 15, 41, 371_000_048, time.UTC)
	keys := &alldata.Keygen{Now: func() time.Time { return clock }}
	first, second := keys.Next(), keys.Next()
	fmt.Println(alldata.NewKey(clock), len(first), first < second)
	// Output: 20261121T021541371000048000 27 true
}
