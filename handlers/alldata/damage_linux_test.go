package alldata

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
)

// A file that gets shorter while it is mapped is damaged: the fault does not end the program.
func TestOpenOfFileThatIsTruncated(t *testing.T) {
	dir := t.TempDir()
	s := &Store{Dir: dir}
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s.update = func(db *bbolt.DB, f func(*bbolt.Tx) error) error {
		if err := os.Truncate(filepath.Join(dir, fileName), 0); err != nil {
			t.Error(err)
		}
		return db.View(f) // reads the pages of the file
	}
	if err := s.Open(); !errors.Is(err, ErrDamaged) {
		t.Errorf("Open() = %v, want %v", err, ErrDamaged)
	}
}
