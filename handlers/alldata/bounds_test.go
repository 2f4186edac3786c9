package alldata

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// Of several that publish a file the first one's stays, also where there are no links.
func TestPublish(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write(t, path("new"), "new")
	write(t, path("old"), "old")
	if err := publish(path("new"), path("old")); err != nil {
		t.Errorf("publish() over another = %v", err)
	}
	if got, err := os.ReadFile(path("old")); string(got) != "old" {
		t.Errorf("the other is %q, %v", got, err)
	}
	if err := publish(path("new"), path("linked")); err != nil {
		t.Errorf("publish() = %v", err)
	}
	if err := os.Mkdir(path("unlinkable"), 0o700); err != nil { // directories cannot be linked
		t.Fatal(err)
	}
	if err := publish(path("unlinkable"), path("renamed")); err != nil || exists(path("unlinkable")) || !exists(path("renamed")) {
		t.Errorf("publish() without links = %v", err)
	}
	if err := publish(path("nothing"), path("nowhere")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("publish() of nothing = %v", err)
	}
	if err := create(path("store"), path("store/"+fileName)); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(path("store/*")); len(left) != 1 {
		t.Errorf("create() left %q", left)
	}
}

// A page of Range ends after pageEntries entries or pageBytes bytes.
func TestRangePages(t *testing.T) {
	s := open(t, &Store{})
	each(pageEntries+1, func(i int) { mustPut(t, s, fmt.Sprintf("a%04d", i), "1") })
	for i := range 6 {
		mustPut(t, s, fmt.Sprint("b", i), `"`+strings.Repeat("x", pageBytes/4-sealSize-2)+`"`)
	}
	for from, want := range map[string]int{"": pageEntries, "a0001": pageEntries, "a0002": pageEntries, "b": 4, "b2": 4, "b3": 3} {
		if page, err := s.page([]byte(from), ""); len(page) != want || err != nil {
			t.Errorf("from %q a page has %d entries, %v, want %d", from, len(page), err, want)
		}
	}
}

// Put waits for room only if at least one byte is missing.
func TestPendingAtItsBound(t *testing.T) {
	hold, held := make(chan struct{}), make(chan struct{}, 1)
	first := true
	s := &Store{OnStored: func(string, json.RawMessage) {
		if first {
			first = false
			held <- struct{}{}
			<-hold
		}
	}}
	s.MaxPending = 2 * (&put{key: "k1", sealed: seal("k1", []byte("1"))}).size()
	open(t, s)
	mustPut(t, s, "k0", "1")
	<-held
	done := make(chan error, 3)
	for i := range 2 { // as much as fits
		// Ends when it is written.
		go func() { done <- s.Put(t.Context(), fmt.Sprint("k", i+1), json.RawMessage("1")) }()
	}
	s.await(2)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Put(ctx, "k3", json.RawMessage("1")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Put() without room = %v", err)
	}
	s.mu.Lock()
	queued := len(s.queue)
	s.mu.Unlock()
	if queued != 2 {
		t.Errorf("%d puts are queued, want 2", queued)
	}
	close(hold)
	if err := errors.Join(<-done, <-done); err != nil {
		t.Errorf("Put() = %v", err)
	}
}

// Without an OnStored there is nothing to report.
func TestNoOnStored(t *testing.T) {
	s := open(t, &Store{OnError: func(err error) { t.Errorf("OnError(%v)", err) }})
	mustPut(t, s, "a", "1")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("the second Close() = %v", err)
	}
}

// A body takes from MaxPending its Content-Length and a byte, but at most firstPart at first.
func TestBodyTakes(t *testing.T) {
	body := func(n int) string { return upstreamBody + strings.Repeat(" ", n-len(upstreamBody)) }
	tests := []struct {
		name   string
		body   string
		budget int64
		status int
	}{
		{"exactly as much", body(100), 101, 201},
		{"a byte less", body(100), 100, 503},
		{"nothing", "", 1, 400},
		{"the first part", body(firstPart), firstPart + 1, 201},
		{"more than the first part", body(firstPart + 1), firstPart + 1, 503},
		{"twice the first part", body(firstPart + 1), 2 * (firstPart + 1), 201},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := &Handler{OnPut: returns(nil), MaxPending: tt.budget}
			if w := ask(h, "POST", tt.body); w.Code != tt.status || h.pending.Load() != 0 {
				t.Errorf("status %d, want %d; %d bytes are left", w.Code, tt.status, h.pending.Load())
			}
		})
	}
}

// A reason of up to 200 bytes stays whole. It has no control characters.
func TestLine(t *testing.T) {
	for in, want := range map[string]string{
		strings.Repeat("x", 200):            strings.Repeat("x", 200),
		strings.Repeat("x", 201):            strings.Repeat("x", 200) + "...",
		"a b\x00\x1f\x7f\u0080\u009f\u00a0": "a b     \u00a0",
	} {
		if got := line(in); got != want {
			t.Errorf("line(%q) = %q, want %q", in, got, want)
		}
	}
}

// closing counts the bodies that were closed.
type closing struct {
	io.Reader
	n *int
}

func (c closing) Close() error { *c.n++; return nil }

// The client closes every body, and waits as long as Retry-After says only if that is a number.
func TestClientAnswers(t *testing.T) {
	for after, want := range map[string]time.Duration{
		"": 0, "0": 0, "1": time.Second, "-1": 0, "x": 0, "3600": time.Hour, "3601": time.Hour, "99999999999999999999": time.Hour,
		"-99999999999999999999": 0,
	} {
		closed := 0
		c := &Client{HTTP: transport(func(*http.Request) (*http.Response, error) {
			r := status(503, "", "Retry-After", after)
			r.Body = closing{r.Body, &closed}
			return r, nil
		}).client()}
		wait, err := c.try(t.Context(), DefaultURL, []byte("{}"))
		var answer *StatusError
		if wait != want || closed != 1 || !errors.As(err, &answer) {
			t.Errorf("Retry-After: %s: wait %v, %v; %d bodies closed, want %v", after, wait, err, closed, want)
		}
	}
	if err := (&Client{URL: "http://[::1"}).Put(t.Context(), "k", json.RawMessage("1")); err == nil || !strings.Contains(err.Error(), "is not a URL") {
		t.Errorf("Put() to half an address = %v", err)
	}
}

// failing is a listener whose Accept fails.
type failing struct{ net.Listener }

func (failing) Accept() (net.Conn, error) { return nil, errors.New("no more") }
func (failing) Close() error              { return nil }
func (failing) Addr() net.Addr            { return &net.TCPAddr{} }

// OnError is called if the server stops without a Close, and only then.
func TestServerStops(t *testing.T) {
	var told []string
	s := &Server{Addr: "127.0.0.1:0", Handler: http.NotFoundHandler(), OnError: func(err error) { told = append(told, err.Error()) }}
	if _, err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil || len(told) > 0 {
		t.Errorf("Close() = %v, OnError was told %q", err, told)
	}
	s.run(&running{http: &http.Server{}, served: make(chan struct{})}, failing{})
	if !slices.Equal(told, []string{"no more"}) {
		t.Errorf("OnError was told %q", told)
	}
	s.OnError = nil
	s.run(&running{http: &http.Server{}, served: make(chan struct{})}, failing{})
}

// Zero means the default, and a negative value no bound.
func TestServerBounds(t *testing.T) {
	l := &limited{most: 2}
	if got := []bool{l.enter(), l.enter(), l.enter()}; !slices.Equal(got, []bool{true, true, false}) {
		t.Errorf("entered: %v, want two of three", got)
	}
	for given, want := range map[time.Duration]time.Duration{0: time.Hour, time.Minute: time.Minute, -1: 0} {
		ctx, cancel := bounded(t.Context(), given, time.Hour)
		at, ok := ctx.Deadline()
		if ok != (want > 0) || ok && (time.Until(at) > want || time.Until(at) < want-time.Minute/2) {
			t.Errorf("a timeout of %v ends at %v, want %v", given, at, want)
		}
		cancel()
	}
	for given, want := range map[int]int64{0: 1000, 5: 5, -1: 1<<63 - 1} {
		if got := (&Server{MaxConns: given}).maxConns(); got != want {
			t.Errorf("MaxConns %d: %d, want %d", given, got, want)
		}
	}
	w := httptest.NewRecorder()
	(&Server{Handler: http.NotFoundHandler(), Paths: []string{}}).serve(w, httptest.NewRequest("GET", "/", nil))
	if got := w.Body.String(); got != "there is nothing at this path\n" {
		t.Errorf("a server without paths says %q", got)
	}
}

// The seal of an empty event is valid, and a part of a seal is not.
func TestUnseal(t *testing.T) {
	sealed := seal("k", nil)
	if got, err := unseal("k", sealed); len(got) > 0 || err != nil {
		t.Errorf("unseal() = %q, %v", got, err)
	}
	for _, wrong := range [][]byte{nil, sealed[:sealSize-1], seal("l", nil)} {
		if _, err := unseal("k", wrong); !errors.Is(err, ErrDamaged) {
			t.Errorf("unseal(%q) = %v, want ErrDamaged", wrong, err)
		}
	}
}

// readDeadlines is a ResponseWriter that records the deadlines of the request.
type readDeadlines struct {
	*httptest.ResponseRecorder
	set []bool
}

func (r *readDeadlines) SetReadDeadline(at time.Time) error {
	r.set = append(r.set, !at.IsZero())
	return nil
}

// A body has a read deadline, which is removed afterwards, and none without ReadTimeout.
func TestBodyDeadline(t *testing.T) {
	for timeout, want := range map[time.Duration][]bool{0: {true, false}, time.Hour: {true, false}, -1: nil} {
		w := &readDeadlines{ResponseRecorder: httptest.NewRecorder()}
		h := &Handler{OnPut: returns(nil), ReadTimeout: timeout}
		h.ServeHTTP(w, httptest.NewRequest("POST", "/", strings.NewReader(upstreamBody)))
		if w.Code != 201 || !slices.Equal(w.set, want) {
			t.Errorf("ReadTimeout %v: status %d, deadlines %v, want %v", timeout, w.Code, w.set, want)
		}
	}
}

// The settings of the http.Server.
func TestServerOfHTTP(t *testing.T) {
	own := log.New(io.Discard, "", 0)
	if s := (&Server{}).server(); s.ErrorLog == nil || !s.DisableGeneralOptionsHandler {
		t.Errorf("by default %+v", s)
	}
	if s := (&Server{ErrorLog: own}).server(); s.ErrorLog != own {
		t.Error("the ErrorLog is another")
	}
}

// After a failed commit the next one makes sure that what can be read is on disk.
func TestCommitFails(t *testing.T) {
	s := &Store{Dir: t.TempDir()}
	open(t, s)
	db := s.db
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.commit(db, nil); err == nil || !s.unsure {
		t.Errorf("commit() = %v, unsure %t", err, s.unsure)
	}
}

func TestSyncDirs(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // directories cannot be synced there
	}
	if err := syncDirs(filepath.Join(t.TempDir(), "no", "where")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("syncDirs() = %v, want ErrNotExist", err)
	}
}

// sparse is a file that has only meta pages, at these offsets.
type sparse map[int64]meta

func (s sparse) ReadAt(b []byte, at int64) (int, error) {
	m := s[at-pageHead]
	return copy(b, m[:]), nil
}

// Without a valid first meta page the second is searched for at each page size, and used if it has
// that page size.
func TestSecondMeta(t *testing.T) {
	made := func(size uint32) (m meta) {
		binary.NativeEndian.PutUint32(m[:], metaMagic)
		binary.NativeEndian.PutUint32(m[4:], metaVersion)
		binary.NativeEndian.PutUint32(m[metaPageSize:], size)
		binary.NativeEndian.PutUint64(m[metaSum:], m.sum())
		return m
	}
	for size := int64(minPageSize); size <= maxPageSize; size *= 2 {
		if metas := readMetas(sparse{size: made(uint32(size))}); !metas[1].valid() || metas[1].pageSize() != size {
			t.Errorf("of %d bytes: not found", size)
		}
	}
	metas := readMetas(sparse{2048: made(4096), 4096: made(4096)})
	if !metas[1].valid() {
		t.Error("behind one that is no meta page: not found")
	}
	if metas := readMetas(sparse{2048: made(4096)}); metas[1].valid() {
		t.Error("one that is not where it says is taken")
	}
}
