package coordinator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/coordinator/artifact"
	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// MaxArtifactBytes is how large an artifact may be.
	MaxArtifactBytes = 1 << 30
	// artifactsFolder is where artifacts are by default, in the data directory.
	artifactsFolder = "artifacts"
	// adoptTimeout is how long getting an artifact that another leader has taken may take, with more tries when one fails.
	adoptTimeout = 20 * time.Second
	adoptRetry   = time.Second
)

var errNoArtifacts = status.Error(codes.FailedPrecondition,
	"this coordinator's log is in memory, so it keeps no artifacts either: start it with a data directory (--data)")

// artifactStore is where artifacts are kept: package artifact says what is promised.
type artifactStore interface {
	Put(ctx context.Context, content io.Reader, limit int64) (digest string, size int64, err error)
	Get(ctx context.Context, digest string) (content io.ReadCloser, size int64, err error)
	List(ctx context.Context) iter.Seq2[artifact.Artifact, error]
	Delete(ctx context.Context, artifact artifact.Artifact) error
	Close() error
}

var _ artifactStore = (*artifact.Store)(nil)

// artifacts is a node's store of artifacts, and what this node has put there lately.
type artifacts struct {
	// store is nil if the node keeps no artifacts. It is set when the log is opened.
	store  artifactStore
	logger *slog.Logger
	// grace is for how long at least an artifact that nothing refers to is kept: see collector.
	grace   time.Duration
	metrics *artifactMetrics
	// elsewhere gets an artifact from another node, in tests from anywhere. Its error is artifact.ErrNotFound if no node has
	// it.
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

func newArtifacts(config Config) *artifacts {
	return &artifacts{
		logger:  config.Logger,
		grace:   DefaultArtifactGrace,
		metrics: newArtifactMetrics(config.Registerer),
		taken:   map[string]takenArtifact{},
	}
}

// openArtifacts opens the store in which the configuration says that artifacts are.
func (c *Coordinator) openArtifacts(ctx context.Context) error {
	if c.config.Data == "" {
		return nil
	}
	location := c.config.Artifacts
	if location == "" {
		location = filepath.Join(c.config.Data, artifactsFolder)
	}
	store, err := artifact.Open(ctx, location)
	if err != nil {
		return err
	}
	c.artifacts.store, c.artifacts.elsewhere = store, c.artifactElsewhere
	return nil
}

func (a *artifacts) close() error {
	if a.store == nil {
		return nil
	}
	return a.store.Close()
}

// put takes an artifact, and remembers that this node has it afresh.
func (a *artifacts) put(ctx context.Context, content io.Reader) (digest string, size int64, err error) {
	began := time.Now()
	digest, size, err = a.store.Put(ctx, content, MaxArtifactBytes)
	if err != nil {
		return "", 0, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.taken[digest] = takenArtifact{size: size, at: began}
	return digest, size, nil
}

// fresh returns the size of an artifact that this node has put within half the grace period.
func (a *artifacts) fresh(digest string) (size int64, fresh bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	taken, known := a.taken[digest]
	return taken.size, known && time.Since(taken.at) < a.grace/2
}

// forget drops what is no longer fresh.
func (a *artifacts) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for digest, taken := range a.taken {
		if time.Since(taken.at) >= a.grace/2 {
			delete(a.taken, digest)
		}
	}
}

// get returns an artifact from this node's store, or else from another node's.
func (a *artifacts) get(ctx context.Context, digest string) (io.ReadCloser, error) {
	content, err := a.getHere(ctx, digest)
	if errors.Is(err, artifact.ErrNotFound) && a.elsewhere != nil {
		return a.elsewhere(ctx, digest)
	}
	return content, err
}

func (a *artifacts) getHere(ctx context.Context, digest string) (io.ReadCloser, error) {
	content, _, err := a.store.Get(ctx, digest)
	return content, err
}

// admit makes sure that a checkpoint may be referred to. Only what this node has put into the store lately may be, because
// no collector, here or on another node, can have set its mind on deleting that. What another leader has taken is copied
// first. The error is why the checkpoint is refused, for good: its artifact is not there, or is not what it says.
func (a *artifacts) admit(ctx context.Context, checkpoint *trellisv1.Checkpoint) error {
	if a.store == nil {
		return errNoArtifacts
	}
	size, err := a.renew(ctx, checkpoint.GetSha256())
	if err != nil {
		return err
	}
	if uint64(size) != checkpoint.GetSize() {
		return fmt.Errorf("artifact %s has %d bytes, and not %d", checkpoint.GetSha256(), size, checkpoint.GetSize())
	}
	return nil
}

// renew makes sure that this node has put an artifact into the store lately, and returns its size.
func (a *artifacts) renew(ctx context.Context, digest string) (size int64, err error) {
	if size, fresh := a.fresh(digest); fresh {
		return size, nil
	}
	return a.adopt(ctx, digest)
}

// adopt puts a copy of an artifact that is there, or on another node, into the store, as if it had just been uploaded. It
// tries again where that may help, but not for long: a worker waits.
func (a *artifacts) adopt(ctx context.Context, digest string) (size int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, adoptTimeout)
	defer cancel()
	var reason error
	for {
		size, err = a.tryAdopt(ctx, digest)
		if err != nil && ctx.Err() != nil {
			// What the last try was interrupted at says less than why there was one.
			return 0, cmp.Or(reason, err)
		}
		for _, hopeless := range []error{artifact.ErrNotFound, artifact.ErrDigest, artifact.ErrCorrupt, artifact.ErrNoSpace} {
			// A node that can't be asked may have it, as one that led until just now and is being restarted.
			if errors.Is(err, hopeless) && !errors.Is(err, errUnasked) {
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

func (a *artifacts) tryAdopt(ctx context.Context, digest string) (size int64, err error) {
	content, err := a.get(ctx, digest)
	if err != nil {
		return 0, err
	}
	defer content.Close()
	found, size, err := a.put(ctx, content)
	if err != nil {
		return 0, fmt.Errorf("copy artifact %s: %w", digest, err)
	}
	if found != digest {
		return 0, fmt.Errorf("copy artifact %s: %w: another node has sent %s", digest, artifact.ErrCorrupt, found)
	}
	return size, nil
}

// receiveCheckpoint handles a checkpoint that a worker says it has uploaded. One that can't be referred to never reaches
// the log. It is acknowledged nevertheless: the worker has nothing better to send, and goes on.
func (s workerService) receiveCheckpoint(ctx context.Context, session *session, report *trellisv1.CheckpointReport) error {
	entry := &trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Checkpoint{Checkpoint: report}}
	// The worker is not read while an artifact is copied, which is no fault of its own.
	released := session.holdUp()
	err := s.artifacts.admit(ctx, report.GetCheckpoint())
	s.leases.heard(session.worker)
	released()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		s.logger.Warn("refused a checkpoint: if the run is interrupted, it goes on from an earlier one", "study", report.GetStudy(),
			"run", report.GetRun(), "epoch", report.GetCheckpoint().GetEpoch(), "worker", session.worker, "error", err)
		session.acknowledge(entry)
		return nil
	}
	return s.put(ctx, session, entry, report.GetStudy(), report.GetRun())
}
