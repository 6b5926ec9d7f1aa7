package artifacttest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"sync"
	"testing/iotest"
	"time"

	"trellis/coordinator/artifact"
)

// Store is an artifact store in memory, with faults.
type Store struct {
	mu     sync.Mutex
	copies map[string]memoryCopy
	puts   int
	// failing has the errors to return, by method.
	failing map[string]error
	// Deleting, if not nil, is called before a copy is deleted.
	Deleting func(artifact.Artifact)
}

var _ artifact.Backing = (*Store)(nil)

type memoryCopy struct {
	artifact.Artifact
	content []byte
}

// New returns an empty store.
func New() *Store {
	return &Store{copies: map[string]memoryCopy{}, failing: map[string]error{}}
}

// DigestOf returns the digest of a content.
func DigestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// Put stores a new copy.
func (m *Store) Put(_ context.Context, r io.Reader, limit int64) (string, int64, error) {
	content, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return "", 0, err
	}
	if int64(len(content)) > limit {
		return "", 0, artifact.ErrTooLarge
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.failing["put"]; err != nil {
		return "", 0, err
	}
	m.puts++
	made := artifact.Artifact{
		SHA256: DigestOf(content), Copy: fmt.Sprintf("%016x", m.puts), Size: int64(len(content)), Modified: time.Now(),
	}
	m.copies[made.Name()] = memoryCopy{made, content}
	return made.SHA256, made.Size, nil
}

// Get returns the content of any copy.
func (m *Store) Get(_ context.Context, digest string) (io.ReadCloser, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.failing["get"]; err != nil {
		return nil, 0, err
	}
	for _, copied := range m.copies {
		if copied.SHA256 == digest {
			content := io.Reader(bytes.NewReader(copied.content))
			if err := m.failing["read"]; err != nil {
				content = io.MultiReader(content, iotest.ErrReader(err))
			}
			return io.NopCloser(content), copied.Size, nil
		}
	}
	return nil, 0, artifact.ErrNotFound
}

// List returns all copies, oldest first.
func (m *Store) List(context.Context) iter.Seq2[artifact.Artifact, error] {
	m.mu.Lock()
	copies := slices.SortedFunc(maps.Values(m.copies), func(a, b memoryCopy) int { return a.Compare(b.Artifact) })
	err := m.failing["list"]
	m.mu.Unlock()
	return func(yield func(artifact.Artifact, error) bool) {
		for _, copied := range copies {
			if !yield(copied.Artifact, nil) {
				return
			}
		}
		if err != nil {
			yield(artifact.Artifact{}, err)
		}
	}
}

// Delete deletes a copy.
func (m *Store) Delete(_ context.Context, copied artifact.Artifact) error {
	if m.Deleting != nil {
		m.Deleting(copied)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.failing["delete "+copied.SHA256]; err != nil {
		return err
	}
	delete(m.copies, copied.Name())
	return nil
}

// Close does nothing.
func (m *Store) Close() error { return nil }

// Fail sets the error that "get", "put", "list" or "delete DIGEST" returns from now on, nil for none. That of "read" comes
// at the end of what Get returns.
func (m *Store) Fail(what string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failing[what] = err
}

// Has says whether there is a copy with the digest.
func (m *Store) Has(digest string) bool {
	content, _, err := m.Get(context.Background(), digest)
	if err != nil {
		return false
	}
	found, _ := io.ReadAll(content)
	return DigestOf(found) == digest
}

// Puts returns how many copies were ever stored.
func (m *Store) Puts() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.puts
}

// Names returns the names of all copies in the store.
func (m *Store) Names() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.copies))
}
