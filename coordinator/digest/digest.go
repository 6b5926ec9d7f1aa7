package digest

import (
	"context"
	"log/slog"
	"slices"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/insight"
	"trellis/results/lifecycle"
)

const (
	// delay is how long a node serves before it looks for the first time: others have more urgent questions then.
	delay = 5 * time.Second
	// interval is how often it looks whether a study has ended.
	interval = time.Second
	// mostStudies is of how many studies the digests are computed: those that were created last. Of others, the first who asks
	// waits.
	mostStudies = 4
)

// Snapshots returns the state as of now.
type Snapshots interface {
	Snapshot() *results.Snapshot
}

// Compute computes digests until the context is done: one at a time, each on all cores. Whoever asks for one in the meantime
// waits for the same.
func Compute(ctx context.Context, store Snapshots, logger *slog.Logger) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if err := compute(store.Snapshot().Within(ctx)); err != nil && ctx.Err() == nil {
			logger.Warn("could not compute the digest of a study; will retry", "error", err)
		}
		timer.Reset(interval)
	}
}

// compute computes the digests that are missing.
func compute(snapshot *results.Snapshot) error {
	studies, err := snapshot.Studies(nil)
	if err != nil {
		return err
	}
	studies = slices.DeleteFunc(studies, func(study *trellisv1.Study) bool {
		return !lifecycle.StudyEnded(study.GetState()) || !insight.DigestedLate(study)
	})
	for _, study := range studies[max(0, len(studies)-mostStudies):] {
		if snapshot.HasDigest(study) {
			continue
		}
		if _, err := snapshot.Digest(study.GetName()); err != nil {
			return err
		}
	}
	return nil
}
