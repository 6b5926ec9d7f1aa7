package artifact_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"trellis/coordinator/artifact"
	"trellis/coordinator/artifact/artifacttest"
	trellisv1 "trellis/proto/trellis/v1"
)

// keeperOf is a node's artifacts in a store.
func keeperOf(store artifact.Backing) *artifact.Keeper {
	k := artifact.NewKeeper(slog.New(slog.DiscardHandler))
	k.Use(store, nil)
	return k
}

// admitTest calls admit for what has the given content, under a fake clock.
func admitTest(t *testing.T,
	test func(a *artifact.Keeper, store *artifacttest.Store, admit func(content string, size uint64) error),
) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store := artifacttest.New()
		a := keeperOf(store)
		test(a, store, func(content string, size uint64) error {
			return a.Admit(context.Background(), &trellisv1.Checkpoint{
				Sha256: artifacttest.DigestOf([]byte(content)),
				Size:   size,
			})
		})
	})
}

func mustTake(t *testing.T, a *artifact.Keeper, content string) {
	t.Helper()
	if _, _, err := a.Put(context.Background(), strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
}

func TestCheckpointsAreAdmittedIfTheirArtifactIsThere(t *testing.T) {
	admitTest(t, func(a *artifact.Keeper, store *artifacttest.Store, admit func(string, uint64) error) {
		mustTake(t, a, "content")
		if err := admit("content", 7); err != nil {
			t.Errorf("what was uploaded: %v", err)
		}
		if err := admit("content", 8); err == nil || !strings.Contains(err.Error(), "has 7 bytes, not 8") {
			t.Errorf("another size: %v", err)
		}
		if err := admit("other", 5); !errors.Is(err, artifact.ErrNotFound) {
			t.Errorf("what was not uploaded: %v", err)
		}
		if store.Puts() != 1 {
			t.Errorf("%d copies made, want that of the upload", store.Puts())
		}
		store.Fail("get", artifact.ErrDigest)
		err := a.Admit(context.Background(), &trellisv1.Checkpoint{Sha256: "../x", Size: 1})
		if !errors.Is(err, artifact.ErrDigest) {
			t.Errorf("what is no digest: %v", err)
		}
		err = artifact.NewKeeper(slog.New(slog.DiscardHandler)).Admit(context.Background(), &trellisv1.Checkpoint{})
		if !errors.Is(err, artifact.ErrNoStore) {
			t.Errorf("without a store: %v", err)
		}
	})
}

// What this node has not taken lately gets a new copy.
func TestOldArtifactsAreCopiedAnew(t *testing.T) {
	admitTest(t, func(a *artifact.Keeper, store *artifacttest.Store, admit func(string, uint64) error) {
		mustTake(t, a, "content")
		for _, step := range []struct {
			after time.Duration
			puts  int
		}{{artifact.Grace/2 - time.Second, 1}, {time.Second, 2}, {time.Second, 2}, {artifact.Grace, 3}} {
			time.Sleep(step.after)
			if err := admit("content", 7); err != nil || store.Puts() != step.puts {
				t.Errorf("%d copies and error %v, want %d", store.Puts(), err, step.puts)
			}
		}
		// Another node's upload, in a shared store.
		mustTake(t, keeperOf(store), "theirs")
		if err := admit("theirs", 6); err != nil || store.Puts() != 5 {
			t.Errorf("%d copies and error %v", store.Puts(), err)
		}
		time.Sleep(artifact.Grace)
		if a.Forget(); a.Taken() != 0 {
			t.Errorf("%d artifacts are remembered forever", a.Taken())
		}
	})
}

// What only another node has is copied from there, if it is what it should be.
func TestArtifactsOfOtherNodesAreAdopted(t *testing.T) {
	admitTest(t, func(a *artifact.Keeper, store *artifacttest.Store, admit func(string, uint64) error) {
		sent := "theirs"
		a.Elsewhere(func(context.Context, string) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(sent)), nil
		})
		if err := admit("theirs", 6); err != nil || !store.Has(artifacttest.DigestOf([]byte("theirs"))) {
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
	admitTest(t, func(a *artifact.Keeper, store *artifacttest.Store, admit func(string, uint64) error) {
		mustTake(t, keeperOf(store), "content")
		store.Fail("put", syscall.EIO)
		time.AfterFunc(artifact.AdoptTimeout/2, func() { store.Fail("put", nil) })
		if err := admit("content", 7); err != nil {
			t.Error(err)
		}
		mustTake(t, keeperOf(store), "more")
		store.Fail("put", syscall.EIO)
		began := time.Now()
		if err := admit("more", 4); !errors.Is(err, syscall.EIO) || time.Since(began) > artifact.AdoptTimeout {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		store.Fail("put", artifact.ErrNoSpace)
		began = time.Now()
		if err := admit("more", 4); !errors.Is(err, artifact.ErrNoSpace) || time.Since(began) > 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// The log says that the store is full when it is, and then once a minute at most, however often workers try.
func TestAFullStoreIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, said := artifacttest.New(), &bytes.Buffer{}
		k := artifact.NewKeeper(slog.New(slog.NewTextHandler(said, nil)))
		k.Use(store, nil)
		try := func(times int, pause time.Duration) {
			for range times {
				_, _, _ = k.Put(context.Background(), strings.NewReader("content"))
				time.Sleep(pause) // The clock is synctest's.
			}
		}
		store.Fail("put", syscall.EIO)
		try(2, time.Second)
		if said.Len() > 0 || k.Full() > 0 {
			t.Errorf("what is not full is said to be: %d, %s", k.Full(), said)
		}
		store.Fail("put", artifact.ErrNoSpace)
		try(1, time.Second)
		if strings.Count(said.String(), "the store is full") != 1 || !strings.Contains(said.String(), "others=0") {
			t.Errorf("the first is not said: %s", said)
		}
		try(119, time.Second)
		lines := strings.Split(strings.TrimSpace(said.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[1], "others=59") || k.Full() != 120 {
			t.Errorf("after two minutes, and %d refusals, the log says\n%s", k.Full(), said)
		}
		store.Fail("put", nil)
		try(1, time.Minute)
		if k.Full() != 120 || strings.Count(said.String(), "\n") != 2 {
			t.Errorf("there is room again, and %d are refused: %s", k.Full(), said)
		}
	})
}

// Of what is larger than it should be, no more is copied than that.
func TestRenewAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := artifacttest.New()
		a := keeperOf(store)
		mustTake(t, a, "content")
		time.Sleep(artifact.Grace)
		digest := artifacttest.DigestOf([]byte("content"))
		if _, err := a.RenewAtMost(t.Context(), digest, 6); !errors.Is(err, artifact.ErrTooLarge) {
			t.Errorf("one that is too large: %v", err)
		}
		if size, err := a.RenewAtMost(t.Context(), digest, 7); err != nil || size != 7 {
			t.Errorf("%d bytes, %v", size, err)
		}
	})
}
