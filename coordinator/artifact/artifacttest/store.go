package coordinator

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
	"time"

	"trellis/coordinator/artifact"
)

// memoryArtifacts is a store of artifacts in memory, with faults.
type memoryArtifacts struct {
	mu     sync.Mutex
	copies map[string]memoryCopy
	puts   int
	// failing is the error of what is asked, by method; deleting is called before a copy is deleted.
	failing  map[string]error
	deleting func(artifact.Artifact)
}

type memoryCopy struct {
	artifact.Artifact
	content []byte
}

func newMemoryArtifacts() *memoryArtifacts {
	return &memoryArtifacts{copies: map[string]memoryCopy{}, failing: map[string]error{}}
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func (m *memoryArtifacts) Put(_ context.Context, r io.Reader, limit int64) (string, int64, error) {
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
		SHA256: digestOf(content), Copy: fmt.Sprintf("%016x", m.puts), Size: int64(len(content)), Modified: time.Now(),
	}
	m.copies[made.Name()] = memoryCopy{made, content}
	return made.SHA256, made.Size, nil
}

func (m *memoryArtifacts) Get(_ context.Context, digest string) (io.ReadCloser, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.failing["get"]; err != nil {
		return nil, 0, err
	}
	for _, copied := range m.copies {
		if copied.SHA256 == digest {
			return io.NopCloser(bytes.NewReader(copied.content)), copied.Size, nil
		}
	}
	return nil, 0, artifact.ErrNotFound
}

func (m *memoryArtifacts) List(context.Context) iter.Seq2[artifact.Artifact, error] {
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

func (m *memoryArtifacts) Delete(_ context.Context, copied artifact.Artifact) error {
	if m.deleting != nil {
		m.deleting(copied)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.failing["delete "+copied.SHA256]; err != nil {
		return err
	}
	delete(m.copies, copied.Name())
	return nil
}

func (m *memoryArtifacts) Close() error { return nil }

func (m *memoryArtifacts) fail(what string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failing[what] = err
}

func (m *memoryArtifacts) has(digest string) bool {
	content, _, err := m.Get(context.Background(), digest)
	if err != nil {
		return false
	}
	found, _ := io.ReadAll(content)
	return digestOf(found) == digest
}
