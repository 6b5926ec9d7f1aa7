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
	// interval is how often it looks whether a study has ended. After an error it waits with that study twice as long
	// as the time before, up to longest: computing again what fails would take all cores, and say the same.
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
	c := &computer{
		digest: func(snapshot *results.Snapshot, study *trellisv1.Study) error {
			_, err := snapshot.Digest(study.GetName())
			return err
		},
		logger: logger, failures: map[version]*failure{},
	}
	repeat(ctx, func() { c.compute(store.Snapshot().Within(ctx)) })
}

// repeat looks again and again until the context is done.
func repeat(ctx context.Context, look func()) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		look()
		timer.Reset(interval)
	}
}

// computer computes the digests that are missing.
type computer struct {
	digest func(*results.Snapshot, *trellisv1.Study) error
	logger *slog.Logger
	// failures are of the studies whose digests could not be computed.
	failures map[version]*failure
}

// version is a study as of its last change: once it changes, its digest may be computed.
type version struct{ created, modified uint64 }

// failure says when a study's digest is computed again, and how long that was waited for.
type failure struct {
	wait time.Duration
	next time.Time
}

// compute computes the digests that are missing. One that fails does not keep it from the others, and is not tried for
// a while.
func (c *computer) compute(snapshot *results.Snapshot) {
	studies, err := snapshot.Studies(nil)
	if err != nil { // A table of the store could not be read, which never happens.
		c.logger.Warn("could not look for studies without a digest", "error", err)
		return
	}
	studies = slices.DeleteFunc(studies, func(study *trellisv1.Study) bool {
		return !lifecycle.StudyEnded(study.GetState()) || !insight.DigestedLate(study)
	})
	studies = studies[max(0, len(studies)-mostStudies):]
	kept := map[version]*failure{}
	for _, study := range studies {
		version := version{study.GetCreateIndex(), study.GetModifyIndex()}
		if failure := c.failures[version]; failure != nil {
			kept[version] = failure
		}
	}
	c.failures = kept
	for _, study := range studies {
		version := version{study.GetCreateIndex(), study.GetModifyIndex()}
		if failure := c.failures[version]; failure != nil && time.Now().Before(failure.next) {
			continue
		}
		if snapshot.HasDigest(study) {
			continue
		}
		if err := c.digest(snapshot, study); err == nil {
			delete(c.failures, version)
		} else if snapshot.Err() == nil {
			c.failed(version, study.GetName(), err)
		}
	}
}

// failed notes that a study's digest could not be computed.
func (c *computer) failed(version version, study string, err error) {
	last := c.failures[version]
	if last == nil {
		last = &failure{wait: interval}
		c.failures[version] = last
	}
	last.wait = min(2*last.wait, longest)
	last.next = time.Now().Add(last.wait)
	c.logger.Warn("could not compute the digest of a study; will retry", "study", study, "in", last.wait, "error", err)
}
