package alldata

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzParse checks that a body that parse accepts has a key and an event, which stay the same when
// they are sent again, and that the error for any other body is one line.
func FuzzParse(f *testing.F) {
	for _, body := range []string{
		upstreamBody, `{"event":[1,2.5e3,"\ud83d\ude00"],"key":"\u006b"}`, `{"key":"a","key":"\ud800","event":null}`, "null", "[]",
		`{"key":5,"event":1}`, "{foo: 'bar'}", "\uFEFF{}", "{\"key\":\"\xff\",\"event\":1}", `{"Key":"k","event":1}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		key, event, err := parse(body)
		if err != nil {
			status, text := answer(err)
			if status != 400 || strings.ContainsAny(text, "\r\n") || !utf8.ValidString(text) || len(text) > 300 {
				t.Errorf("%d %q", status, text)
			}
			return
		}
		var reference map[string]json.RawMessage
		if err := json.Unmarshal(body, &reference); err != nil || !bytes.Equal(reference["event"], event) {
			t.Errorf("event %s of %s, want %s, %v", event, body, reference["event"], err)
		}
		compact, err := check(key, event)
		if err != nil {
			if len(key) <= MaxKeySize {
				t.Errorf("check(%q, %s) = %v", key, event, err)
			}
			return
		}
		sent, err := encode(key, compact)
		if err != nil {
			t.Fatal(err)
		}
		again, same2, err := parse(sent)
		if err != nil || again != key || !bytes.Equal(same2, compact) {
			t.Errorf("%q %s came out of %s as %q %s, %v", key, compact, sent, again, same2, err)
		}
		if !equalJSON(compact, same2) {
			t.Errorf("%s is not the same as itself", compact)
		}
	})
}

// FuzzSame checks that equalJSON is symmetric, and agrees with a JSON library on what is the same
// event.
func FuzzSame(f *testing.F) {
	for _, pair := range [][2]string{
		{`{"a":1,"b":[2]}`, `{"b":[2.0],"a":10e-1}`}, {`"\ud800"`, `"\udc00"`}, {"1e5", "100000"}, {"-0", "0.0"}, {`"\u00e9"`, `"é"`},
	} {
		f.Add([]byte(pair[0]), []byte(pair[1]))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		if !json.Valid(a) || !json.Valid(b) || !utf8.Valid(a) || !utf8.Valid(b) {
			return
		}
		if equalJSON(a, b) != equalJSON(b, a) || !equalJSON(a, a) {
			t.Errorf("same(%s, %s) has a side", a, b)
		}
		v, ok := tree(a)
		if !ok || hasLoneSurrogate(a) {
			return
		}
		again, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if !equalJSON(a, again) {
			t.Errorf("%s is not the same as %s", a, again)
		}
		// Two texts that encode again to the same text are the same event.
		if w, ok := tree(b); ok && !hasLoneSurrogate(b) {
			other, err := json.Marshal(w)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Equal(again, other) && !equalJSON(a, b) {
				t.Errorf("%s and %s are both %s", a, b, again)
			}
		}
	})
}

// FuzzHandler checks that any request gets a status that is documented, and that only a POST puts.
func FuzzHandler(f *testing.F) {
	f.Add("POST", []byte(upstreamBody))
	f.Add("GET", []byte(upstreamBody))
	f.Add("POST", []byte(strings.Repeat("x", 2000)))
	f.Fuzz(func(t *testing.T, method string, body []byte) {
		p := &puts{}
		r := httptest.NewRequest("POST", "/", bytes.NewReader(body))
		r.Method = method
		w := httptest.NewRecorder()
		(&Handler{OnPut: p.put, Limit: 1000}).ServeHTTP(w, r)
		want := map[int]bool{201: method == "POST", 400: method == "POST", 413: method == "POST" && len(body) > 1000, 405: method != "POST"}
		if !want[w.Code] || (w.Code == 201) != (p.all() != "") {
			t.Errorf("%q %q: %d, puts %q", method, body, w.Code, p.all())
		}
	})
}

// FuzzHead checks that a store with any meta page, and of any length, either has what was put or is
// found to be damaged. The checksum of the meta page is corrected, as nothing else would be read
// otherwise.
func FuzzHead(f *testing.F) {
	s := &Store{Dir: f.TempDir()}
	open(f, s)
	mustPut(f, s, "key", "1")
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	whole := read(f, s.Dir)
	f.Add(metaPageSize, uint64(1), len(whole))
	f.Add(metaPageSize, uint64(1<<31), len(whole))
	f.Add(metaRoot, uint64(1000), 8192)
	f.Add(metaFreelist, uint64(3), len(whole))
	f.Add(metaFreelist, ^uint64(0), len(whole)) // none
	f.Add(metaPages, uint64(1)<<62, 8000)
	f.Add(metaPages, uint64(1), len(whole))
	f.Add(metaTx, uint64(1000), len(whole))
	f.Fuzz(func(t *testing.T, at int, value uint64, size int) {
		if size < 0 || size > len(whole) || at < 0 || at > metaSum-8 {
			return
		}
		image := bytes.Clone(whole)
		for page := range 2 {
			m := (*meta)(image[page*metas/2+pageHead:])
			binary.NativeEndian.PutUint64(m[at:], value)
			binary.NativeEndian.PutUint64(m[metaSum:], m.sum())
		}
		s := &Store{Dir: dirOf(t, image[:size])}
		if err := s.Open(); err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("Open() = %v, want ErrDamaged", err)
			}
			return
		}
		defer s.Close()
		if got, err := s.Get("key"); string(got) != "1" || err != nil {
			t.Errorf("Get() = %s, %v", got, err)
		}
	})
}
