package artifact

import (
	"bytes"
	"io"
	"testing"
)

// Artifacts of 1 MB in a folder, synced to disk.
func BenchmarkFolder(b *testing.B) {
	content := noise(1, 1_000_000)
	b.Run("put", func(b *testing.B) {
		store := benchmarkStore(b)
		b.SetBytes(int64(len(content)))
		for b.Loop() {
			if _, _, err := store.Put(b.Context(), bytes.NewReader(content), 1<<30); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("get", func(b *testing.B) {
		store := benchmarkStore(b)
		digest, _, err := store.Put(b.Context(), bytes.NewReader(content), 1<<30)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(content)))
		for b.Loop() {
			content, _, err := store.Get(b.Context(), digest)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, content); err != nil {
				b.Fatal(err)
			}
			if err := content.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func benchmarkStore(b *testing.B) *Store {
	store, err := Open(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	return store
}
