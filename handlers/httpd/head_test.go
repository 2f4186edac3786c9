package httpd

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/portluck/portluck/handlers"
)

// manyFields is the end of a head, without its empty line. In http.Header it takes ten times as
// many bytes.
var manyFields = strings.Repeat("a:\r\n", 12_000)

// unended has beginnings of requests that hold memory until more comes.
var unended = []struct {
	name  string
	first string // an earlier request
	begin string
}{
	{"a head", "", "POST / HTTP/1.1\r\nHost: x\r\n" + manyFields},
	{"a second head", post("x"), "POST / HTTP/1.1\r\nHost: x\r\n" + manyFields},
	{"a field", "", "POST / HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("x", 48_000)},
	{"a target", "", "GET /" + strings.Repeat("x", 48_000)},
	{"a body", "", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n" + manyFields + "\r\nx"},
	{"a second body", post("x"), "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n" + manyFields + "\r\nx"},
	{"the body of a page", "", "GET /page HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n" + manyFields + "\r\nx"},
}

// reads is a page that reads two bytes of the body.
func reads(_ http.ResponseWriter, r *http.Request) { _, _ = io.ReadFull(r.Body, make([]byte, 2)) }

// Heads count for the budget, complete or not, first or later, and are given back. If none is left
// the client gets an answer.
func TestHeadsCount(t *testing.T) {
	t.Parallel()
	for _, u := range unended {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			const most = 8 << 20
			budget := handlers.Budget{Max: most}
			p := &port{message: echo}
			addr, conns := serve(t, &Handler{Budget: &budget, HeaderTimeout: time.Minute, Pages: http.HandlerFunc(reads)}, p)
			answers := make(chan *http.Response, 200)
			clients := 0
			for ; clients < 200 && len(answers) == 0; clients++ {
				w := dial(t, addr)
				if u.first != "" {
					w.send(u.first)
					w.expect(200, "x\n")
				}
				w.send(u.begin)
				go func() { // ends with the connection
					if resp, err := http.ReadResponse(w.r, nil); err == nil {
						answers <- resp
					}
				}()
				eventually(t, "it holds memory, or somebody is refused", func() bool {
					return len(answers) > 0 || budget.Held() > int64(clients+1)*40_000
				})
				if got := budget.Held(); got > most {
					t.Fatalf("%d bytes are held, want %d at the most", got, most)
				}
			}
			if clients < 5 || len(answers) == 0 {
				t.Fatalf("%d clients had room", clients)
			}
			resp := <-answers
			if resp.StatusCode != 503 || !resp.Close || resp.Header.Get("Retry-After") == "" || resp.Header.Get("Date") == "" {
				t.Errorf("answer %v", resp)
			}
			for range clients {
				(<-conns).Close()
			}
			eventually(t, "all is given back", func() bool { return budget.Held() == 0 })
			events := fmt.Sprint(p.events())
			if !strings.Contains(events, "fail "+handlers.ErrOverload.Error()) {
				t.Errorf("events %s", events)
			}
			w := dial(t, addr)
			w.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n" + manyFields + "\r\nx")
			w.expect(200, "x\n")
		})
	}
}

// Heads of each version of HTTP count. A request does not count any more once it is answered.
func TestHeadsCountOfEachVersion(t *testing.T) {
	t.Parallel()
	const most = 100_000
	budget := &handlers.Budget{Max: most}
	each(t, func() *Handler { return &Handler{Budget: budget} }, echoing, func(t *testing.T, s session) {
		for _, want := range []int{200, 200, 503, 200} {
			r, err := http.NewRequest("POST", s.url, strings.NewReader("x"))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("A", strings.Repeat("x", 40_000))
			others := 0
			if want == 503 {
				others = most - 10_000
			}
			budget.Force(others)
			resp, err := s.client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want || want == 503 && resp.Header.Get("Retry-After") == "" {
				t.Errorf("status %d, want %d", resp.StatusCode, want)
			}
			budget.Take(-others)
			eventually(t, "all is given back", func() bool { return budget.Held() == 0 })
		}
	})
}

// While a request is served, a head of up to freeHead bytes does not count. A longer one counts its
// bytes, or what it takes in memory if that is more.
func TestHeadsThatAreFree(t *testing.T) {
	head := func(size int) string { // its fields cost more than freeHead
		begin := "GET / HTTP/1.1\r\nHost: x\r\nB:"
		fields := strings.Repeat("a:\r\n", 900)
		return begin + strings.Repeat("b", size-len(begin+fields)-4) + "\r\n" + fields + "\r\n"
	}
	target := func(size int) string { // it costs only its bytes, as it has no fields
		return "GET /" + strings.Repeat("x", size-1) + " HTTP/1.1\r\nHost: x\r\n\r\n"
	}
	for _, tt := range []struct {
		name, request string
		want          int
	}{
		{"a free head", head(freeHead), 0},
		{"one byte more", head(freeHead + 1), 1 + 2*(1+nameCost) + (1+900)*valueCost + freeHead + 1 - len("GET / HTTP/1.1\r\nHost: x\r\nB:\r\n\r\n") - 900*4},
		{"a free target", target(freeHead), 0},
		{"one byte more of it", target(freeHead + 1), freeHead + 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var budget handlers.Budget
			held := int64(-1)
			h := &Handler{Budget: &budget, Pages: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { held = budget.Held() })}
			bubble(t, h, &port{}, func(t *testing.T, w *wire, _ *conn) {
				w.send(tt.request)
				if w.expect(200, ""); held != int64(tt.want) {
					t.Errorf("%d bytes are held, want %d", held, tt.want)
				}
			})
		})
	}
}

// Fields may take more memory than their bytes suggest. Then the request is refused, and a
// connection of HTTP/1 is closed.
func TestHeadsOfManyNames(t *testing.T) {
	t.Parallel()
	each(t, func() *Handler { return &Handler{Budget: &handlers.Budget{Max: 110_000}} }, echoing, func(t *testing.T, s session) {
		for _, n := range []int{900, 1} {
			r, err := http.NewRequest("POST", s.url, strings.NewReader("x"))
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				r.Header.Set(fmt.Sprintf("%X", i), "")
			}
			resp, err := s.client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if refused := n > 1; (resp.StatusCode == 503) != refused || resp.Close != (refused && s.protocol == handlers.ProtocolHTTP1) {
				t.Errorf("%d names: status %d, the answer closes: %t", n, resp.StatusCode, resp.Close)
			}
		}
	})
}

// eventually waits until ok returns true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	late := time.After(time.Minute)
	for !ok() {
		select {
		case <-late:
			t.Fatalf("not within a minute: %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}

// A head counts roughly what it takes in memory.
func TestHeadsCountWhatTheyTake(t *testing.T) {
	distinct := &strings.Builder{}
	for i := range 6000 {
		fmt.Fprintf(distinct, "%x:\r\n", i)
	}
	const n = 20
	for name, fields := range map[string]string{"equal names": manyFields, "names": distinct.String(), "a value": "A: " + strings.Repeat("x", 48_000) + "\r\n"} {
		for _, end := range []string{"", "\r\nx"} {
			t.Run(fmt.Sprintf("%s, whole %t", name, end != ""), func(t *testing.T) {
				var budget handlers.Budget
				addr, _ := serve(t, &Handler{Budget: &budget}, &port{quiet: true})
				before := live()
				for i := range n {
					w := dial(t, addr)
					w.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n" + fields + end)
					least := int64(i+1) * int64(len(fields)) * 9 / 10
					eventually(t, "it is counted", func() bool { return budget.Held() > least })
				}
				took, held := (live()-before)/n, int(budget.Held())/n
				if took > 2*held {
					t.Errorf("a head of %d bytes takes %d, and counts %d", len(fields), took, held)
				}
			})
		}
	}
}

func live() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
