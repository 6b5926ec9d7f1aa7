package artifact

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// MaxBytes is how large an artifact may be.
	MaxBytes = 1 << 30
	// Grace is how long an artifact is kept, at least, that nothing refers to. It is longer than any upload and the
	// report of its checkpoint take, and gives time to restore a backup.
	Grace = time.Hour
	// AdoptTimeout is how long getting an artifact that another leader has taken may take, with more tries when one
	// fails.
	AdoptTimeout = 20 * time.Second
	adoptRetry   = time.Second
)

// Backing is where a keeper has its artifacts: the package's documentation says what is promised.
type Backing interface {
	Put(ctx context.Context, content io.Reader, limit int64) (digest string, size int64, err error)
	Get(ctx context.Context, digest string) (content io.ReadCloser, size int64, err error)
	List(ctx context.Context) iter.Seq2[Artifact, error]
	Delete(ctx context.Context, artifact Artifact) error
	Close() error
}

var _ Backing = (*Store)(nil)

// Keeper is a node's store of artifacts, and what this node has put there lately.
type Keeper struct {
	// store is nil if the node keeps no artifacts.
	store Backing
	// elsewhere gets an artifact from another node. Its error is ErrNotFound if no node has it. Nil if there are no
	// others.
	elsewhere func(ctx context.Context, digest string) (io.ReadCloser, error)

	mu sync.Mutex
	// taken has what this node has put into the store within half the grace period, by digest.
	taken map[string]takenArtifact
}

type takenArtifact struct {
	size int64
	// at is no later than when it was put.
	at time.Time
}

// NewKeeper returns a keeper that keeps nothing before Use.
func NewKeeper() *Keeper { return &Keeper{taken: map[string]takenArtifact{}} }

// Use gives the keeper its store, and where to look for what that does not have: nowhere if peers is nil. It comes
// before everything else.
func (k *Keeper) Use(store Backing, peers Peers) {
	k.store = store
	k.elsewhere = nil
	if peers != nil {
		k.elsewhere = elsewhere{peers}.get
	}
}

// Store is what the keeper uses, nil if it keeps nothing.
func (k *Keeper) Store() Backing { return k.store }

// Close closes the store.
func (k *Keeper) Close() error {
	if k.store == nil {
		return nil
	}
	return k.store.Close()
}

// Put takes an artifact, and remembers that this node has it afresh.
func (k *Keeper) Put(ctx context.Context, content io.Reader) (digest string, size int64, err error) {
	if k.store == nil {
		return "", 0, ErrNoStore
	}
	began := time.Now()
	digest, size, err = k.store.Put(ctx, content, MaxBytes)
	if err != nil {
		return "", 0, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.taken[digest] = takenArtifact{size: size, at: began}
	return digest, size, nil
}

// fresh returns the size of an artifact that this node has put within half the grace period.
func (k *Keeper) fresh(digest string) (size int64, fresh bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	taken, known := k.taken[digest]
	return taken.size, known && time.Since(taken.at) < Grace/2
}

// Forget drops what is no longer fresh.
func (k *Keeper) Forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for digest, taken := range k.taken {
		if time.Since(taken.at) >= Grace/2 {
			delete(k.taken, digest)
		}
	}
}

// Get returns an artifact from this node's store, or else from another node's.
func (k *Keeper) Get(ctx context.Context, digest string) (io.ReadCloser, error) {
	content, err := k.GetHere(ctx, digest)
	if errors.Is(err, ErrNotFound) && k.elsewhere != nil {
		return k.elsewhere(ctx, digest)
	}
	return content, err
}

// GetHere returns an artifact from this node's store.
func (k *Keeper) GetHere(ctx context.Context, digest string) (io.ReadCloser, error) {
	if k.store == nil {
		return nil, ErrNoStore
	}
	content, _, err := k.store.Get(ctx, digest)
	return content, err
}

// Admit makes sure that a checkpoint may be referred to. Only what this node has put into the store lately may be,
// because no collector, here or on another node, can have set its mind on deleting that. What another leader has taken
// is copied first. The error is why the checkpoint is refused, for good: its artifact is not there, or is not what it
// says.
func (k *Keeper) Admit(ctx context.Context, checkpoint *trellisv1.Checkpoint) error {
	size, err := k.Renew(ctx, checkpoint.GetSha256())
	if err != nil {
		return err
	}
	if uint64(size) != checkpoint.GetSize() {
		return fmt.Errorf("artifact %s has %d bytes, and not %d", checkpoint.GetSha256(), size, checkpoint.GetSize())
	}
	return nil
}

// Renew makes sure that this node has put an artifact into the store lately, and returns its size.
func (k *Keeper) Renew(ctx context.Context, digest string) (size int64, err error) {
	if size, fresh := k.fresh(digest); fresh {
		return size, nil
	}
	return k.adopt(ctx, digest)
}

// adopt puts a copy of an artifact that is there, or on another node, into the store, as if it had just been uploaded.
// It tries again where that may help, but not for long: a worker waits.
func (k *Keeper) adopt(ctx context.Context, digest string) (size int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, AdoptTimeout)
	defer cancel()
	var reason error
	for {
		size, err = k.tryAdopt(ctx, digest)
		if err != nil && ctx.Err() != nil {
			// What the last try was interrupted at says less than why there was one.
			return 0, cmp.Or(reason, err)
		}
		for _, hopeless := range []error{ErrNoStore, ErrNotFound, ErrDigest, ErrCorrupt, ErrNoSpace} {
			// A node that can't be asked may have it, as one that led until just now and is being restarted.
			if errors.Is(err, hopeless) && !errors.Is(err, ErrUnasked) {
				return 0, err
			}
		}
		if err == nil {
			return size, nil
		}
		reason = err
		select {
		case <-ctx.Done():
			return 0, reason
		case <-time.After(adoptRetry):
		}
	}
}

func (k *Keeper) tryAdopt(ctx context.Context, digest string) (size int64, err error) {
	content, err := k.Get(ctx, digest)
	if err != nil {
		return 0, err
	}
	defer content.Close()
	found, size, err := k.Put(ctx, content)
	if err != nil {
		return 0, fmt.Errorf("copy artifact %s: %w", digest, err)
	}
	if found != digest {
		return 0, fmt.Errorf("copy artifact %s: %w: another node has sent %s", digest, ErrCorrupt, found)
	}
	return size, nil
}

// Taken is how many artifacts the keeper remembers having put.
func (k *Keeper) Taken() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.taken)
}
