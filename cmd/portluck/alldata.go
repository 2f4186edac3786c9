package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/portluck/portluck/cmd/portluck/internal/chat"
	"github.com/portluck/portluck/cmd/portluck/internal/page"
	"github.com/portluck/portluck/handlers/alldata"
	"github.com/rs/zerolog"
	"github.com/spf13/pflag"
)

// putPath is the default of --alldata-path.
const putPath = "/_put"

// eventStore is the service of --alldata. It stores the events that clients post to its path, and
// shows each new one in the room.
type eventStore struct {
	dir  string
	path string
	open *openStore // nil until start
}

// openStore holds the state of a started eventStore.
type openStore struct {
	dir     string
	path    string
	prefix  string
	store   *alldata.Store
	room    *chat.Room
	logger  *zerolog.Logger
	address string // of the port, for the printed commands

	again, refused atomic.Int64

	mu     sync.Mutex // guards stored and last
	stored int
	last   string
}

func (s *eventStore) flags(f *pflag.FlagSet) {
	f.StringVar(&s.dir, "alldata", "", "directory that keeps the events that are posted to --alldata-path, each once under its key "+
		"and on disk before the answer; it is made if there is none")
	f.StringVar(&s.path, "alldata-path", putPath, "path that takes the events of --alldata; at /, as in the original AllData, each "+
		"POST is an event, and GET still gets the page")
}

func (s *eventStore) check() error {
	switch {
	case s.path != putPath && s.dir == "":
		return errors.New("--alldata-path needs --alldata")
	case !isPath(s.path):
		return fmt.Errorf("--alldata-path %q must be a path such as / or %s: of letters, digits and -._~ between slashes", s.path, putPath)
	}
	return nil
}

// plainPath matches a path that needs no escapes in a URL, a shell or a pattern of [http.ServeMux].
var plainPath = regexp.MustCompile(`^/[A-Za-z0-9._~/-]*$`)

// isPath reports whether s, the value of a flag, matches plainPath and is clean: it has no empty, .
// or .. element and, unless it is /, no slash at its end.
func isPath(s string) bool { return plainPath.MatchString(s) && path.Clean(s) == s }

// pattern returns the [http.ServeMux] pattern of the store's requests below a prefix. If the path
// is /, the pattern takes only POST, so that GET still gets the page.
func (s *eventStore) pattern(prefix string) string {
	if s.path == "/" {
		return "POST " + prefix + "/{$}"
	}
	return prefix + s.path
}

func (s *eventStore) on() bool { return s.dir != "" }

func (s *eventStore) start(d *demo) error {
	o := &openStore{dir: s.dir, path: s.path, prefix: d.prefix, room: d.room, logger: d.logger, address: reachable(d.listeners[0].Addr())}
	o.store = &alldata.Store{Dir: s.dir, OnStored: o.tell, OnError: func(err error) { d.logger.Error().Err(err).Msg("alldata") }}
	switch err := o.store.Open(); {
	case errors.Is(err, alldata.ErrInUse):
		return fmt.Errorf("%w: end that process, or give another directory (--alldata)", err)
	case err != nil:
		return fmt.Errorf("%w (--alldata)", err)
	}
	h := &alldata.Handler{OnPut: o.put, OnError: func(*http.Request, error) { o.refused.Add(1) }}
	d.srv.Mount(s.pattern(""), h)
	if d.prefix != "" {
		d.srv.Mount(s.pattern(d.prefix), h)
	}
	s.open = o
	return nil
}

func (s *eventStore) stop(context.Context) {
	if err := s.open.store.Close(); err != nil {
		s.open.logger.Error().Err(err).Msg("alldata not closed")
	}
}

func (s *eventStore) panel() page.Panel { return s.open.panel() }

// put stores an event under its key, and counts it.
func (s *openStore) put(ctx context.Context, key string, event json.RawMessage) error {
	err := s.store.Put(ctx, key, event)
	if err == nil {
		s.again.Add(1) // panel subtracts those that are new
	}
	return err
}

// shownBytes is how many bytes of a key, and of an event, are shown.
const shownBytes = 500

// tell shows a new event in the room.
func (s *openStore) tell(key string, event json.RawMessage) {
	text := fmt.Sprintf("[put %s] %s", chat.Shorten(key, shownBytes), chat.Shorten(string(event), shownBytes))
	s.mu.Lock()
	s.stored++
	s.last = chat.Clean(text)
	s.mu.Unlock()
	s.room.Tell(text)
}

func (s *openStore) panel() page.Panel {
	events := "unknown"
	if n, err := s.store.Len(); err == nil {
		events = strconv.Itoa(n)
	}
	s.mu.Lock()
	stored, last := s.stored, s.last
	s.mu.Unlock()
	return page.Panel{
		Title: "AllData",
		Hint:  "Events that are posted to " + s.prefix + s.path + " are kept for ever, each once under its key, and shown in the room.",
		Facts: []page.Fact{
			{Name: "events", Value: events},
			{Name: "new since the start", Value: strconv.Itoa(stored)},
			{Name: "put again", Value: strconv.FormatInt(max(s.again.Load()-int64(stored), 0), 10)},
			{Name: "refused", Value: strconv.FormatInt(s.refused.Load(), 10)},
			{Name: "last", Value: last},
			{Name: "kept in", Value: s.dir},
		},
		Commands: putLines(s.address, s.prefix, s.path),
	}
}

// putLines returns commands that put an event at the path at, below the prefix of the port.
func putLines(address, prefix, at string) []page.Command {
	const body = `{"key":"key1","event":{"foo":"bar"}}`
	if socket, ok := strings.CutPrefix(address, "unix:"); ok {
		args := append([]string{"-si"}, append(curlSocket(socket), "-d", body, "http://localhost"+prefix+at)...)
		return []page.Command{{What: "put an event", Command: shellLine("curl", args...)}}
	}
	curl := func(to string) string { return shellLine("curl", "-si", "-d", body, to) }
	put := func(to string) string { return self() + " " + shellLine("put", to, `{"foo":"bar"}`) }
	behind := func(line func(to string) string) func(*url.URL) string {
		return func(page *url.URL) string { return line(page.String() + strings.TrimPrefix(at, "/")) }
	}
	to := "http://" + address + prefix + at
	return []page.Command{
		{What: "put an event", Command: curl(to), Web: behind(curl)},
		{What: "put, with a new key", Command: put(to), Web: behind(put)},
	}
}
