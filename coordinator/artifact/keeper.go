package artifact

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"sync"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// MaxBytes is the maximum size of an artifact: a checkpoint of a program. What arrives at a time has limits of its own.
	MaxBytes = 64 << 30
	// Grace is the minimum time for which an artifact is kept that nothing refers to. It is longer than an upload and
	// the report of its checkpoint take, and leaves time to restore a backup.
	Grace = time.Hour
	// AdoptTimeout is how long it may take, including retries, to get an artifact that was uploaded to another leader.
	AdoptTimeout = 20 * time.Second
	adoptRetry   = time.Second
	// fullInterval is the shortest time between two lines of the log that say that the store is full. Every worker
	// tries again and again.
	fullInterval = time.Minute
)

// Backing is where a keeper stores its artifacts. The package's documentation says what it must guarantee.
type Backing interface {
	Put(ctx context.Context, content io.Reader, limit int64) (digest string, size int64, err error)
	Get(ctx context.Context, digest string) (content io.ReadCloser, size int64, err error)
	List(ctx context.Context) iter.Seq2[Artifact, error]
	Delete(ctx context.Context, artifact Artifact) error
	Close() error
}

var _ Backing = (*Store)(nil)

// Keeper is a node's artifact store. It remembers what this node has put there recently.
type Keeper struct {
	// store is nil if the node stores no artifacts.
	store Backing
	// elsewhere gets an artifact from another node. It returns ErrNotFound if no node has it. It is nil if there are no
	// other nodes.
	elsewhere func(ctx context.Context, digest string) (io.ReadCloser, error)
	logger    *slog.Logger

	mu sync.Mutex
	// taken has the artifacts that this node has put into the store within half the grace period, by digest.
	taken map[string]takenArtifact
	// full is how many artifacts found no room in the store, of which the log does not have the last unlogged. said is
	// when it was last told.
	full, unlogged uint64
	said           time.Time
}

type takenArtifact struct {
	size int64
	// at is a moment no later than the Put.
	at time.Time
}

// NewKeeper returns a keeper without a store. Call Use to set one. The logger learns when that is full.
func NewKeeper(logger *slog.Logger) *Keeper {
	return &Keeper{taken: map[string]takenArtifact{}, logger: logger}
}

// Use sets the keeper's store, and the peers that are asked for artifacts that the store does not have. peers may be
// nil. Use must be called before all other methods.
func (k *Keeper) Use(store Backing, peers Peers) {
	k.store = store
	k.elsewhere = nil
	if peers != nil {
		k.elsewhere = elsewhere{peers}.get
	}
}

// Store returns the keeper's store, or nil if it has none.
func (k *Keeper) Store() Backing { return k.store }

// Close closes the store.
func (k *Keeper) Close() error {
	if k.store == nil {
		return nil
	}
	return k.store.Close()
}

// Put stores an artifact, and remembers that this node has put it recently.
func (k *Keeper) Put(ctx context.Context, content io.Reader) (digest string, size int64, err error) {
	return k.put(ctx, content, MaxBytes)
}

func (k *Keeper) put(ctx context.Context, content io.Reader, most int64) (digest string, size int64, err error) {
	if k.store == nil {
		return "", 0, ErrNoStore
	}
	began := time.Now()
	digest, size, err = k.store.Put(ctx, content, most)
	if errors.Is(err, ErrNoSpace) {
		k.noRoom(err)
	}
	if err != nil {
		return "", 0, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.taken[digest] = takenArtifact{size: size, at: began}
	return digest, size, nil
}

// noRoom counts an artifact that found no room. It logs the first, and then no more than one in fullInterval.
func (k *Keeper) noRoom(err error) {
	if others, says := k.countFull(); says {
		k.logger.Warn("an artifact was refused: the store is full", "error", err, "others", others)
	}
}

// countFull counts an artifact that found no room, and says whether it is to be logged, with how many others.
func (k *Keeper) countFull() (others uint64, says bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.full++
	now := time.Now()
	if now.Sub(k.said) < fullInterval {
		k.unlogged++
		return 0, false
	}
	others, k.unlogged, k.said = k.unlogged, 0, now
	return others, true
}

// Full returns how many artifacts found no room in the store.
func (k *Keeper) Full() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.full
}

// fresh returns the size of an artifact, if this node has put it within half the grace period.
func (k *Keeper) fresh(digest string) (size int64, fresh bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	taken, known := k.taken[digest]
	return taken.size, known && time.Since(taken.at) < Grace/2
}

// Forget forgets artifacts whose Put is longer ago than half the grace period.
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

// Check returns why an artifact can't be had from this node or another, or nil. If whole is set, all of it is read.
func (k *Keeper) Check(ctx context.Context, digest string, whole bool) error {
	content, err := k.Get(ctx, digest)
	if err != nil {
		return err
	}
	defer content.Close()
	if whole {
		if _, err := io.Copy(io.Discard, content); err != nil {
			return fmt.Errorf("read artifact %s: %w", digest, err)
		}
	}
	return nil
}

// Admit makes sure that the log may refer to a checkpoint. This is only allowed for artifacts that this node has put
// into the store recently, because no collector, here or on another node, can have decided to delete them. An artifact
// that was uploaded to another leader is copied first. An error means that the checkpoint is refused for good, because
// its artifact does not exist or differs from what the checkpoint says.
func (k *Keeper) Admit(ctx context.Context, checkpoint *trellisv1.Checkpoint) error {
	size, err := k.Renew(ctx, checkpoint.GetSha256())
	if err != nil {
		return err
	}
	if uint64(size) != checkpoint.GetSize() {
		return fmt.Errorf("artifact %s has %d bytes, not %d", checkpoint.GetSha256(), size, checkpoint.GetSize())
	}
	return nil
}

// Renew makes sure that this node has put an artifact into the store recently, and returns its size.
func (k *Keeper) Renew(ctx context.Context, digest string) (size int64, err error) {
	return k.RenewAtMost(ctx, digest, MaxBytes)
}

// RenewAtMost is Renew for an artifact that should have at most so many bytes. It copies no more than that of a larger one, and
// fails with ErrTooLarge.
func (k *Keeper) RenewAtMost(ctx context.Context, digest string, most int64) (size int64, err error) {
	if size, fresh := k.fresh(digest); fresh {
		return size, nil
	}
	return k.adopt(ctx, digest, most)
}

// adopt puts a new copy of an existing artifact, from this node or another, into the store, as if it had just been
// uploaded. It retries if that may help, but not for long, because a worker is waiting.
func (k *Keeper) adopt(ctx context.Context, digest string, most int64) (size int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, AdoptTimeout)
	defer cancel()
	var reason error
	for {
		size, err = k.tryAdopt(ctx, digest, most)
		if err != nil && ctx.Err() != nil {
			// The error of the interrupted last attempt says less than the error of the attempt before.
			return 0, cmp.Or(reason, err)
		}
		for _, hopeless := range []error{ErrNoStore, ErrNotFound, ErrDigest, ErrCorrupt, ErrNoSpace, ErrTooLarge} {
			// A node that can't be asked may have it, for example a former leader that is being restarted.
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

func (k *Keeper) tryAdopt(ctx context.Context, digest string, most int64) (size int64, err error) {
	content, err := k.Get(ctx, digest)
	if err != nil {
		return 0, err
	}
	defer content.Close()
	found, size, err := k.put(ctx, content, most)
	if err != nil {
		return 0, fmt.Errorf("copy artifact %s: %w", digest, err)
	}
	if found != digest {
		return 0, fmt.Errorf("copy artifact %s: %w: another node has sent %s", digest, ErrCorrupt, found)
	}
	return size, nil
}

// Taken returns how many recently put artifacts the keeper remembers.
func (k *Keeper) Taken() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.taken)
}
