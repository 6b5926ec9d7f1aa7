package lead

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"trellis/coordinator/artifact"
)

const (
	// collectionsPerGrace is how often the collector looks within a grace period.
	collectionsPerGrace = 6
	// collectBatch is how many copies are deleted before the references are read again.
	collectBatch = 256
	// maxCollectFailures is the number of failed deletes after which a round is given up.
	maxCollectFailures = 10
)

// collector deletes artifacts that no run refers to, and no study as the source of its pretrained weights. It is one of
// the leader's loops.
//
// It must be impossible to delete an artifact that something refers to. This is what could go wrong, and why it does
// not:
//
//   - The checkpoint of an upload is reported later. So a copy is deleted only after this collector itself has seen it
//     for a whole grace period, in every round, without any reference. The time is measured on this node's monotonic
//     clock, so clocks of other nodes, file systems and services don't matter, nor does setting a clock. A new leader
//     starts again.
//   - The store may lag behind. So leadership is verified, and everything committed is applied, before the references
//     are read for the last time.
//   - The same content is uploaded again, for example by a study that was deleted and submitted again, just when it is
//     deleted; or a delete takes effect late, because its process was stopped and continued, perhaps when another node
//     was the leader already, or because the network repeated it. So each upload makes a copy of its own, a delete
//     names one copy, and a checkpoint is admitted to the log only if the admitting node itself has put a copy within
//     half a grace period: what was taken by another leader, or long ago, is copied anew (see artifact.Keeper.Admit).
//     Of such a copy nobody can have decided, or decide, that nothing refers to it: a collector needs a whole grace
//     period from the moment of its Put for that, and within the other half the admitted checkpoint is in the log, so
//     that a verified leader sees it, or will never be: what waits for the log is dropped when a term ends, and a
//     deposed leader appends nothing.
//   - There are several copies, and the one that is being read is deleted. The youngest copy of a referenced artifact
//     always stays: of two collectors that look at different moments, neither deletes the youngest of all.
//   - A study is created whose pretrained weights are in an artifact, while the study that they come from is deleted.
//     Its command is proposed like a checkpoint: what it names has been copied within half a grace period.
//   - A run that refers to a checkpoint shares it with another run, through the log. Then there is always a reference.
//   - A backup is restored. The leader's loops are paused during that time and start again. A backup that is restored
//     later may refer to artifacts that no longer exist.
//
// A store belongs to one cluster. Only the leader's store is collected: unless nodes share one, each collects its own
// while it leads.
type collector struct {
	artifacts *artifact.Keeper
	metrics   *artifactMetrics
	logger    *slog.Logger
	// references returns the digests that runs and studies refer to, as of now.
	references func() (map[string]bool, error)
	// verify returns once it is certain that this node leads and has applied everything that was acknowledged.
	verify func(context.Context) error
	// idle has the time since when each copy has been superfluous in every round, by name.
	idle map[string]time.Time
	// compared says that this term has compared the store with what is referred to.
	compared bool
}

// superfluous is a copy that nobody needs.
type superfluous struct {
	artifact.Artifact
	// outdated says that there is a younger copy, and not that nothing refers to it.
	outdated bool
}

func (c *collector) run(ctx context.Context) {
	if c.artifacts.Store() == nil {
		return
	}
	ticker := time.NewTicker(artifact.Grace / collectionsPerGrace)
	defer ticker.Stop()
	for {
		if err := c.round(ctx); err != nil && ctx.Err() == nil {
			c.logger.Warn("could not delete the artifacts that nothing refers to; will retry", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// round looks at all copies once, and deletes those that have been superfluous for long enough.
func (c *collector) round(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, artifact.Grace)
	defer cancel()
	now := time.Now()
	c.artifacts.Forget()
	found, err := c.look(ctx)
	if err != nil {
		return err
	}
	// The start of the time is taken after looking, and its end before looking, so the time is never too long.
	seen := time.Now()
	idle := make(map[string]time.Time, len(found))
	var due []superfluous
	for _, copied := range found {
		since, known := c.idle[copied.Name()]
		if !known {
			since = seen
		}
		idle[copied.Name()] = since
		if now.Sub(since) >= artifact.Grace {
			due = append(due, copied)
		}
	}
	c.idle = idle
	return c.collect(ctx, due)
}

// look returns the copies that nothing refers to, and those that have a younger copy.
func (c *collector) look(ctx context.Context) ([]superfluous, error) {
	var before map[string]bool
	if !c.compared {
		var err error
		// What is referred to before the listing was put before it, and is listed.
		if before, err = c.references(); err != nil {
			return nil, fmt.Errorf("find what runs refer to: %w", err)
		}
	}
	var all []artifact.Artifact
	var bytes int64
	youngest := map[string]artifact.Artifact{}
	for copied, err := range c.artifacts.Store().List(ctx) {
		if err != nil {
			return nil, err
		}
		all = append(all, copied)
		bytes += copied.Size
		if other, known := youngest[copied.SHA256]; !known || copied.Compare(other) > 0 {
			youngest[copied.SHA256] = copied
		}
	}
	c.compare(before, youngest)
	c.metrics.kept.Set(float64(len(all)))
	c.metrics.keptBytes.Set(float64(bytes))
	referred, err := c.references()
	if err != nil {
		return nil, fmt.Errorf("find what runs refer to: %w", err)
	}
	var found []superfluous
	for _, copied := range all {
		outdated := youngest[copied.SHA256].Copy != copied.Copy
		if outdated || !referred[copied.SHA256] {
			found = append(found, superfluous{copied, outdated})
		}
	}
	return found, nil
}

// compare warns, once in a term, of artifacts that are referred to but not in the store, for example of a coordinator that was
// started with another store and without copying what the old one had.
func (c *collector) compare(referred map[string]bool, stored map[string]artifact.Artifact) {
	if c.compared {
		return
	}
	c.compared = true
	missing, example := 0, ""
	for digest := range referred {
		if _, there := stored[digest]; !there {
			missing++
			if example == "" || digest < example {
				example = digest
			}
		}
	}
	if missing > 0 {
		c.logger.Warn("checkpoints and weights that runs refer to are not in this node's store; unless another node has them, "+
			"unfinished runs start over and their weights can't be read: copy them from the store that was used before",
			"missing", missing, "referred", len(referred), "example", example)
	}
}

// collect deletes copies, unless something now refers to them.
func (c *collector) collect(ctx context.Context, due []superfluous) error {
	deleted, bytes := 0, int64(0)
	defer func() {
		if deleted > 0 {
			c.logger.Info("deleted artifacts that nothing refers to", "artifacts", deleted, "bytes", bytes)
		}
	}()
	var failures []error
	for batch := range slices.Chunk(due, collectBatch) {
		if err := c.verify(ctx); err != nil {
			return fmt.Errorf("verify leadership before deleting artifacts: %w", err)
		}
		referred, err := c.references()
		if err != nil {
			return fmt.Errorf("find what runs refer to: %w", err)
		}
		for _, copied := range batch {
			if referred[copied.SHA256] && !copied.outdated {
				continue
			}
			if ctx.Err() != nil {
				return errors.Join(append(failures, context.Cause(ctx))...)
			}
			if err := c.artifacts.Store().Delete(ctx, copied.Artifact); err != nil {
				if failures = append(failures, err); len(failures) == maxCollectFailures || ctx.Err() != nil {
					return errors.Join(failures...)
				}
				continue
			}
			deleted++
			bytes += copied.Size
			c.metrics.collected.Inc()
			c.metrics.collectedBytes.Add(float64(copied.Size))
		}
	}
	return errors.Join(failures...)
}
