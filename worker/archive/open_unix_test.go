//go:build unix

package archive

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// What becomes a pipe after it was looked at is not waited for.
func TestWhatBecomesAPipe(t *testing.T) {
	folder := tree(t, "a/1", "b")
	for _, name := range []string{"a", "b"} {
		packed := make(chan error, 1)
		go func() {
			_, err := Pack(t.Context(), io.Discard, open(t, folder), roomy, func(path string, _ bool) bool {
				path = filepath.Join(folder, path)
				if filepath.Base(path) != name {
					return false
				}
				if err := errors.Join(os.RemoveAll(path), syscall.Mkfifo(path, 0o600)); err != nil {
					t.Error(err)
				}
				return false
			})
			packed <- err
		}()
		select {
		case err := <-packed:
			if err == nil {
				t.Errorf("%s was packed", name)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s is waited for", name)
		}
		if err := os.Remove(filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
}
