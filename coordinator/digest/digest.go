package digest

import (
	"context"
	"errors"
	"fmt"
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
	// interval is how often it looks whether a study has ended. After an error it waits twice as long as the time
	// before, up to longest: computing again what fails would take all cores, and say the same.
	interval, longest = time.Second, 10 * time.Minute
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
	repeat(ctx, func() error { return compute(store.Snapshot().Within(ctx)) }, logger)
}

// repeat looks again and again until the context is done.
func repeat(ctx context.Context, look func() error, logger *slog.Logger) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	wait := interval
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		err := look()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			wait = min(2*wait, longest)
			logger.Warn("could not compute the digest of a study; will retry", "in", wait, "error", err)
		} else {
			wait = interval
		}
		timer.Reset(wait)
	}
}

// compute computes the digests that are missing. One that fails does not keep it from the others.
func compute(snapshot *results.Snapshot) error {
	studies, err := snapshot.Studies(nil)
	if err != nil {
		return err
	}
	studies = slices.DeleteFunc(studies, func(study *trellisv1.Study) bool {
		return !lifecycle.StudyEnded(study.GetState()) || !insight.DigestedLate(study)
	})
	var errs []error
	for _, study := range studies[max(0, len(studies)-mostStudies):] {
		if snapshot.HasDigest(study) {
			continue
		}
		if _, err := snapshot.Digest(study.GetName()); err != nil {
			errs = append(errs, fmt.Errorf("study %q: %w", study.GetName(), err))
		}
	}
	return errors.Join(errs...)
}
