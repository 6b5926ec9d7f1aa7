package coordinator

import (
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"trellis/coordinator/artifact"
	trellisv1 "trellis/proto/trellis/v1"
)

// admitTest calls admit for what has the given content, under a fake clock.
func admitTest(t *testing.T, test func(a *artifacts, store *memoryArtifacts, admit func(content string, size uint64) error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store := newMemoryArtifacts()
		a := testArtifacts(store)
		test(a, store, func(content string, size uint64) error {
			return a.admit(context.Background(), &trellisv1.Checkpoint{Sha256: digestOf([]byte(content)), Size: size})
		})
	})
}

func mustTake(t *testing.T, a *artifacts, content string) {
	t.Helper()
	if _, _, err := a.put(context.Background(), strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
}

func TestCheckpointsAreAdmittedIfTheirArtifactIsThere(t *testing.T) {
	admitTest(t, func(a *artifacts, store *memoryArtifacts, admit func(string, uint64) error) {
		mustTake(t, a, "content")
		if err := admit("content", 7); err != nil {
			t.Errorf("what was uploaded: %v", err)
		}
		if err := admit("content", 8); err == nil || !strings.Contains(err.Error(), "has 7 bytes, and not 8") {
			t.Errorf("another size: %v", err)
		}
		if err := admit("other", 5); !errors.Is(err, artifact.ErrNotFound) {
			t.Errorf("what was not uploaded: %v", err)
		}
		if store.puts != 1 {
			t.Errorf("%d copies made, want that of the upload", store.puts)
		}
		store.fail("get", artifact.ErrDigest)
		if err := a.admit(context.Background(), &trellisv1.Checkpoint{Sha256: "../x", Size: 1}); !errors.Is(err, artifact.ErrDigest) {
			t.Errorf("what is no digest: %v", err)
		}
		if err := testArtifacts(nil).admit(context.Background(), &trellisv1.Checkpoint{}); !errors.Is(err, errNoArtifacts) {
			t.Errorf("without a store: %v", err)
		}
	})
}

// What this node has not taken lately gets a new copy.
func TestOldArtifactsAreCopiedAnew(t *testing.T) {
	admitTest(t, func(a *artifacts, store *memoryArtifacts, admit func(string, uint64) error) {
		mustTake(t, a, "content")
		for _, step := range []struct {
			after time.Duration
			puts  int
		}{{DefaultArtifactGrace/2 - time.Second, 1}, {time.Second, 2}, {time.Second, 2}, {DefaultArtifactGrace, 3}} {
			time.Sleep(step.after)
			if err := admit("content", 7); err != nil || store.puts != step.puts {
				t.Errorf("%d copies and error %v, want %d", store.puts, err, step.puts)
			}
		}
		// Another node's upload, in a shared store.
		mustTake(t, testArtifacts(store), "theirs")
		if err := admit("theirs", 6); err != nil || store.puts != 5 {
			t.Errorf("%d copies and error %v", store.puts, err)
		}
		time.Sleep(DefaultArtifactGrace)
		if a.forget(); len(a.taken) != 0 {
			t.Errorf("%d artifacts are remembered for ever", len(a.taken))
		}
	})
}

// What only another node has is copied from there, if it is what it should be.
func TestArtifactsOfOtherNodesAreAdopted(t *testing.T) {
	admitTest(t, func(a *artifacts, store *memoryArtifacts, admit func(string, uint64) error) {
		sent := "theirs"
		a.elsewhere = func(context.Context, string) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(sent)), nil
		}
		if err := admit("theirs", 6); err != nil || !store.has(digestOf([]byte("theirs"))) {
			t.Errorf("adopt: %v", err)
		}
		sent = "forged"
		if err := admit("wanted", 6); !errors.Is(err, artifact.ErrCorrupt) {
			t.Errorf("adopt what is something else: %v", err)
		}
		if err := admit("wanted", 6); !errors.Is(err, artifact.ErrCorrupt) {
			t.Errorf("again: %v", err)
		}
	})
}

// An error that may go away is tried again, for a while.
func TestAdoptingTriesAgain(t *testing.T) {
	admitTest(t, func(a *artifacts, store *memoryArtifacts, admit func(string, uint64) error) {
		mustTake(t, testArtifacts(store), "content")
		store.fail("put", syscall.EIO)
		time.AfterFunc(adoptTimeout/2, func() { store.fail("put", nil) })
		if err := admit("content", 7); err != nil {
			t.Error(err)
		}
		mustTake(t, testArtifacts(store), "more")
		store.fail("put", syscall.EIO)
		began := time.Now()
		if err := admit("more", 4); !errors.Is(err, syscall.EIO) || time.Since(began) > adoptTimeout {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		store.fail("put", artifact.ErrNoSpace)
		began = time.Now()
		if err := admit("more", 4); !errors.Is(err, artifact.ErrNoSpace) || time.Since(began) > 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
