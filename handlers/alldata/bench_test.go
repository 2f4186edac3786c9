package alldata

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"go.etcd.io/bbolt"
)

// Puts of new events of 200 bytes, each of which is on disk before it is answered, by 1 and by 100
// writers: in a Store, and in bbolt with a transaction for each.
//
//	go test -run '^$' -bench Put -benchtime 2s ./handlers/alldata
func BenchmarkPut(b *testing.B) {
	event := json.RawMessage(`"` + strings.Repeat("x", 200) + `"`)
	kinds := []struct {
		name string
		make func(b *testing.B) func(key string) error
	}{
		{"store", func(b *testing.B) func(string) error {
			s := open(b, &Store{})
			return func(key string) error { return s.Put(context.Background(), key, event) }
		}},
		{"bbolt", func(b *testing.B) func(string) error {
			db := openBolt(b)
			return func(key string) error {
				return db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(eventsBucket).Put([]byte(key), event) })
			}
		}},
		{"bbolt-batch", func(b *testing.B) func(string) error {
			db := openBolt(b)
			return func(key string) error {
				return db.Batch(func(tx *bbolt.Tx) error { return tx.Bucket(eventsBucket).Put([]byte(key), event) })
			}
		}},
		{"http", func(b *testing.B) func(string) error {
			s := open(b, &Store{})
			url := listen(b, &Server{Handler: &Handler{OnPut: s.Put}})
			t := http.DefaultTransport.(*http.Transport).Clone()
			t.MaxIdleConnsPerHost = 100
			b.Cleanup(t.CloseIdleConnections)
			c := &Client{URL: url, HTTP: &http.Client{Transport: t}}
			return func(key string) error { return c.Put(context.Background(), key, event) }
		}},
	}
	for _, kind := range kinds {
		for _, writers := range []int{1, 100} {
			b.Run(fmt.Sprintf("%s/writers=%d", kind.name, writers), func(b *testing.B) {
				put := kind.make(b)
				var next atomic.Int64
				b.ResetTimer()
				each(writers, func(int) {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						if err := put(fmt.Sprintf("20261121T%018d", n)); err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
			})
		}
	}
}

func openBolt(b *testing.B) *bbolt.DB {
	b.Helper()
	db, err := bbolt.Open(filepath.Join(b.TempDir(), fileName), 0o600, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	if err := db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket(eventsBucket)
		return err
	}); err != nil {
		b.Fatal(err)
	}
	return db
}

// Open of a store of 64 MiB that is in the page cache: with events of 200 bytes and of 64 KiB, and
// with SkipVerify.
//
//	go test -run '^$' -bench Open -benchtime 3x ./handlers/alldata
func BenchmarkOpen(b *testing.B) {
	for _, size := range []int{200, 64 << 10} {
		s := &Store{Dir: b.TempDir()}
		if err := s.Open(); err != nil {
			b.Fatal(err)
		}
		event := json.RawMessage(`"` + strings.Repeat("x", size) + `"`)
		var next atomic.Int64
		each(1000, func(int) {
			for n := next.Add(1); n <= int64(64<<20/size); n = next.Add(1) {
				mustPut(b, s, fmt.Sprintf("20261121T%018d", n), string(event))
			}
		})
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		n := len(read(b, s.Dir))
		for _, s.SkipVerify = range []bool{false, true} {
			b.Run(fmt.Sprintf("event=%d/skip=%t", size, s.SkipVerify), func(b *testing.B) {
				b.SetBytes(int64(n))
				for b.Loop() {
					if err := s.Open(); err != nil {
						b.Fatal(err)
					}
					if err := s.Close(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/float64(n)*(1<<30), "s/GiB")
			})
		}
	}
}
