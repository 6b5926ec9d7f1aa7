package artifact

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"gocloud.dev/blob/fileblob"
)

// stores opens an empty store of every kind that every test of the contract runs against.
var stores = map[string]func(*testing.T) *Store{
	"folder": func(t *testing.T) *Store { return openTest(t, t.TempDir()) },
	"memory": func(t *testing.T) *Store { return openTest(t, "mem://") },
	"bucket in files": func(t *testing.T) *Store {
		files, err := fileblob.OpenBucket(t.TempDir(), &fileblob.Options{NoTempDir: true})
		if err != nil {
			t.Fatal(err)
		}
		return closeAfter(t, &Store{bucket{files, maxSilence, readAhead}})
	},
	"s3": func(t *testing.T) *Store { return openTest(t, serveS3(t)) },
}

func openTest(t *testing.T, location string) *Store {
	t.Helper()
	store, err := Open(t.Context(), location)
	if err != nil {
		t.Fatal(err)
	}
	return closeAfter(t, store)
}

func closeAfter(t *testing.T, store *Store) *Store {
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// everyStore runs a test against every kind of store.
func everyStore(t *testing.T, test func(*testing.T, *Store)) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func mustPut(t *testing.T, store *Store, content []byte) string {
	t.Helper()
	digest, size, err := store.Put(t.Context(), bytes.NewReader(content), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if digest != digestOf(content) || size != int64(len(content)) {
		t.Fatalf("put %d bytes of %s, and was told %d of %s", len(content), digestOf(content), size, digest)
	}
	return digest
}

// read returns an artifact, and the error of the last Read.
func read(t *testing.T, store *Store, digest string) ([]byte, error) {
	t.Helper()
	content, size, err := store.Get(t.Context(), digest)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	all, err := io.ReadAll(content)
	if err == nil && int64(len(all)) != size {
		t.Errorf("%s has %d bytes, and was said to have %d", digest, len(all), size)
	}
	return all, err
}

func wantContent(t *testing.T, store *Store, content []byte) {
	t.Helper()
	if found, err := read(t, store, digestOf(content)); err != nil || !bytes.Equal(found, content) {
		t.Errorf("got %d bytes and error %v, want the %d bytes that were put", len(found), err, len(content))
	}
}

func list(t *testing.T, store *Store) []Artifact {
	t.Helper()
	var all []Artifact
	for artifact, err := range store.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, artifact)
	}
	slices.SortFunc(all, Artifact.Compare)
	return all
}

// noise returns bytes that depend on the seed alone.
func noise(seed uint64, size int) []byte {
	var key [32]byte
	key[0], key[1], key[2], key[3] = byte(seed), byte(seed>>8), byte(seed>>16), byte(seed>>24)
	content := make([]byte, size)
	_, _ = rand.NewChaCha8(key).Read(content)
	return content
}

func TestWhatWasPutIsGot(t *testing.T) {
	everyStore(t, func(t *testing.T, store *Store) {
		for i, size := range []int{0, 1, 1000, writeBytes - 1, writeBytes, writeBytes + 1, 6 << 20} {
			content := noise(uint64(i), size)
			digest := mustPut(t, store, content)
			wantContent(t, store, content)
			if has, err := store.Has(t.Context(), digest); err != nil || !has {
				t.Errorf("Has(%s) = %v, %v after Put", digest, has, err)
			}
		}
	})
}

func TestWhatIsNotThereIsNotFound(t *testing.T) {
	everyStore(t, func(t *testing.T, store *Store) {
		digest := digestOf([]byte("nothing"))
		if _, _, err := store.Get(t.Context(), digest); !errors.Is(err, ErrNotFound) {
			t.Errorf("Get: %v, want ErrNotFound", err)
		}
		if has, err := store.Has(t.Context(), digest); err != nil || has {
			t.Errorf("Has = %v, %v", has, err)
		}
		if err := store.Delete(t.Context(), Artifact{SHA256: digest, Copy: newCopy()}); err != nil {
			t.Errorf("Delete: %v, want nil", err)
		}
	})
}

// Names that others made up never become paths.
func TestOnlyDigestsAreNames(t *testing.T) {
	everyStore(t, func(t *testing.T, store *Store) {
		right := mustPut(t, store, []byte("content"))
		for _, name := range []string{
			"", "a", "..", "../" + right, "aa/" + right, right[:63], right + "0", strings.ToUpper(right),
			right[:62] + "/.",
			right[:62] + "\x00a", strings.Repeat("../", 21) + "x",
		} {
			if _, _, err := store.Get(t.Context(), name); !errors.Is(err, ErrDigest) {
				t.Errorf("Get(%q): %v, want ErrDigest", name, err)
			}
			if _, err := store.Has(t.Context(), name); !errors.Is(err, ErrDigest) {
				t.Errorf("Has(%q): %v, want ErrDigest", name, err)
			}
			if err := store.Delete(t.Context(), Artifact{SHA256: name, Copy: newCopy()}); !errors.Is(err, ErrDigest) {
				t.Errorf("Delete(%q): %v, want ErrDigest", name, err)
			}
		}
		if err := store.Delete(t.Context(), Artifact{SHA256: right, Copy: "../../x"}); !errors.Is(err, ErrDigest) {
			t.Errorf("Delete of a copy named ../../x: %v, want ErrDigest", err)
		}
	})
}

func TestLimitHoldsWhileReading(t *testing.T) {
	everyStore(t, func(t *testing.T, store *Store) {
		mustPut(t, store, []byte("12345"))
		if _, _, err := store.Put(t.Context(), strings.NewReader("123456"), 6); err != nil {
			t.Errorf("as many bytes as the limit: %v", err)
		}
		// A stream without an end is not read to its end.
		endless := iotest.OneByteReader(neverEnding{})
		_, _, err := store.Put(t.Context(), endless, 1000)
		if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "1000") {
			t.Errorf("Put without an end: %v, want ErrTooLarge with the limit", err)
		}
		if n := len(list(t, store)); n != 2 {
			t.Errorf("there are %d artifacts, want 2", n)
		}
	})
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }

func TestFailedPutLeavesNothing(t *testing.T) {
	everyStore(t, func(t *testing.T, store *Store) {
		broken := errors.New("the stream broke")
		content := io.MultiReader(bytes.NewReader(noise(1, 2<<20)), iotest.ErrReader(broken))
		if _, _, err := store.Put(t.Context(), content, 1<<30); !errors.Is(err, broken) {
			t.Errorf("Put of a broken stream: %v", err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		stopped := errors.New("stopped")
		cancelling := readerFunc(func(p []byte) (int, error) { cancel(stopped); return len(p), nil })
		if _, _, err := store.Put(ctx, cancelling, 1<<30); !errors.Is(err, stopped) {
			t.Errorf("Put with a context that ended: %v", err)
		}
		if found := list(t, store); len(found) != 0 {
			t.Errorf("left behind: %v", found)
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Every Put makes a copy of its own, and a copy that is deleted takes no other with it.
func TestCopiesAreApart(t *testing.T) {
	everyStore(t, func(t *testing.T, store *Store) {
		content := []byte("the same")
		before := time.Now().Add(-2 * time.Second) // S3 has whole seconds.
		mustPut(t, store, content)
		first := list(t, store)
		mustPut(t, store, content)
		both := list(t, store)
		if len(first) != 1 || len(both) != 2 {
			t.Fatalf("%d, then %d copies", len(first), len(both))
		}
		for _, artifact := range both {
			if artifact.SHA256 != digestOf(content) || artifact.Size != int64(len(content)) {
				t.Errorf("listed %+v", artifact)
			}
			if artifact.Modified.Before(before) || artifact.Modified.After(time.Now().Add(time.Second)) {
				t.Errorf("put at %v, it is %v", artifact.Modified, time.Now())
			}
		}
		if err := store.Delete(t.Context(), first[0]); err != nil {
			t.Fatal(err)
		}
		wantContent(t, store, content)
		// A second Delete of the same copy, as a repeated request would be, changes nothing.
		if err := store.Delete(t.Context(), first[0]); err != nil {
			t.Fatal(err)
		}
		wantContent(t, store, content)
		for _, artifact := range list(t, store) {
			if err := store.Delete(t.Context(), artifact); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := read(t, store, digestOf(content)); !errors.Is(err, ErrNotFound) {
			t.Errorf("after all copies were deleted: %v", err)
		}
	})
}

func TestSeveralPutsAtOnce(t *testing.T) {
	everyStore(t, func(t *testing.T, store *Store) {
		var group sync.WaitGroup
		for i := range 16 {
			group.Go(func() {
				content := noise(uint64(i/4), 100_000)
				if digest, _, err := store.Put(t.Context(), bytes.NewReader(content), 1<<20); err != nil ||
					digest != digestOf(content) {
					t.Errorf("put %d: %s, %v", i, digest, err)
				}
			})
		}
		group.Wait()
		if n := len(list(t, store)); n != 16 {
			t.Errorf("%d copies, want 16", n)
		}
		for i := range 4 {
			wantContent(t, store, noise(uint64(i), 100_000))
		}
	})
}

// Someone deletes every copy that was there before the last Put, again and again: what was put last is always there.
func TestDeletesAndPutsAtOnce(t *testing.T) {
	everyStore(t, func(t *testing.T, store *Store) {
		if strings.HasSuffix(t.Name(), "bucket_in_files") {
			t.Skip("fileblob fails to list what is deleted meanwhile; the store has a folder driver of its own")
		}
		content := noise(7, 10_000)
		var group sync.WaitGroup
		for range 10 {
			old := list(t, store)
			for _, artifact := range old {
				group.Go(func() {
					if err := store.Delete(context.WithoutCancel(t.Context()), artifact); err != nil {
						t.Error(err)
					}
				})
			}
			mustPut(t, store, content)
			wantContent(t, store, content)
		}
		group.Wait()
		wantContent(t, store, content)
	})
}

func TestListEndsWithTheContext(t *testing.T) {
	everyStore(t, func(t *testing.T, store *Store) {
		mustPut(t, store, []byte("content"))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var last error
		for _, err := range store.List(ctx) {
			last = err
		}
		if !errors.Is(last, context.Canceled) && !strings.Contains(fmt.Sprint(last), "canceled") {
			t.Errorf("List with a context that ended: %v", last)
		}
	})
}
