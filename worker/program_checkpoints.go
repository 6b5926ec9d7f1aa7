package worker

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/worker/program"
)

// programCheckpoints decides which checkpoints of a program are uploaded: those at milestones and at its last epoch; in
// between, when enough time has passed since the last one and no upload is in progress, the last one and the best one. The
// best is held back until then: it may be the best for one epoch only.
//
// Unlike a model's, a program's checkpoint has the weights of its own epoch alone.
type programCheckpoints struct {
	worker  *Worker
	attempt *attempt
	last    int
	best    bestEpoch
	// held is the checkpoint of the best epoch, if it is not uploaded yet.
	held *encoded
}

// bestEpoch is the epoch with the best value of the objective's metric so far.
type bestEpoch struct {
	objective *trellisv1.Objective
	observed  int
	epoch     int
	value     float64
}

// observe takes in an epoch's metrics, once.
func (b *bestEpoch) observe(epoch int, metrics map[string]float64) {
	if epoch <= b.observed {
		return
	}
	b.observed = epoch
	value, reported := metrics[b.objective.GetMetric()]
	if !reported || value != value {
		return
	}
	better := value < b.value
	switch {
	case b.objective.GetOf() != trellisv1.Objective_SUMMARY_BEST && b.objective.GetOf() != 0:
		better = true // The last values count.
	case b.objective.GetDirection() == trellisv1.Direction_DIRECTION_MAXIMIZE:
		better = value > b.value
	}
	if b.epoch == 0 || better {
		b.epoch, b.value = epoch, value
	}
}

// recall takes in what is recorded of the epochs before the checkpoint from which a program resumes.
func (b *bestEpoch) recall(history map[string]*trellisv1.Series, epochs int) {
	series := history[b.objective.GetMetric()]
	for i, value := range series.GetValues()[:min(epochs, len(series.GetValues()))] {
		if _, missing := slices.BinarySearch(series.GetMissing(), uint32(i)); !missing {
			b.observe(i+1, map[string]float64{b.objective.GetMetric(): value})
		}
	}
}

// wants says whether the checkpoint of an epoch is to be packed.
func (c *programCheckpoints) wants(report program.Report) bool {
	if c.worker.checkpointInterval.Load() == 0 {
		return false
	}
	c.best.observe(report.Epoch, report.Metrics)
	return c.best.epoch == report.Epoch || c.isKept(report.Epoch) || c.isDue()
}

func (c *programCheckpoints) isKept(epoch int) bool {
	return epoch == c.last || slices.Contains(c.attempt.assignment.GetConfig().GetMilestones(), uint32(epoch))
}

func (c *programCheckpoints) isDue() bool {
	u := &c.attempt.uploads
	return u.pending.Load() == 0 && time.Since(u.last) >= time.Duration(c.worker.checkpointInterval.Load())
}

// offer takes a packed checkpoint. The error is that of ctx.
func (c *programCheckpoints) offer(ctx context.Context, packed *program.Checkpoint) error {
	next := c.encode(packed)
	best := next.checkpoint.GetBestEpoch() > 0
	if !next.kept && !c.isDue() {
		if !best {
			next.remove()
			return nil
		}
		c.drop()
		c.held = &next
		return nil
	}
	if best {
		c.drop()
	}
	if err := c.flush(ctx); err != nil {
		next.remove()
		return err
	}
	return c.attempt.uploads.enqueue(ctx, next)
}

// finish takes what is left when the program has ended.
func (c *programCheckpoints) finish(ctx context.Context, last *program.Checkpoint) error {
	if err := c.flush(ctx); err != nil || last == nil || c.worker.checkpointInterval.Load() == 0 {
		return err
	}
	return c.attempt.uploads.enqueue(ctx, c.encode(last))
}

func (c *programCheckpoints) encode(packed *program.Checkpoint) encoded {
	checkpoint := &trellisv1.Checkpoint{
		Epoch: uint32(packed.Epoch), Sha256: packed.SHA256, Size: uint64(packed.Size), Program: true,
	}
	if c.best.epoch == packed.Epoch {
		checkpoint.BestEpoch = checkpoint.Epoch
	}
	return encoded{checkpoint: checkpoint, kept: c.isKept(packed.Epoch), file: packed.Path}
}

// flush uploads the checkpoint that is held.
func (c *programCheckpoints) flush(ctx context.Context) error {
	if c.held == nil {
		return nil
	}
	held := *c.held
	c.held = nil
	return c.attempt.uploads.enqueue(ctx, held)
}

// drop drops the checkpoint that is held.
func (c *programCheckpoints) drop() {
	if c.held != nil {
		c.held.remove()
		c.held = nil
	}
}

// fetchResume downloads the checkpoint that a program resumes from into a folder. It returns "" if there is none to resume
// from: the program then starts from the beginning.
func (w *Worker) fetchResume(ctx context.Context, a *attempt, folder string, log *slog.Logger) (path string, err error) {
	named := a.assignment.GetCheckpoint()
	if named == nil || !named.GetProgram() || !a.assignment.GetConfig().GetProgram().GetResumable() {
		return "", nil
	}
	path = filepath.Join(folder, "resume.tar.zst")
	err = retry(ctx, func() error { return w.fetchTo(ctx, a, path) }, func(err error) {
		log.Warn("could not get the checkpoint to resume from; will retry", "epoch", named.GetEpoch(),
			"sha256", named.GetSha256(), "error", reason(err))
	})
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if named.GetEpoch() > a.assignment.GetEpochs() && err == nil {
		err = fmt.Errorf("it is of epoch %d, want at most %d", named.GetEpoch(), a.assignment.GetEpochs())
	}
	if err != nil {
		w.logUnusable(log, a, err)
		return "", nil
	}
	return path, nil
}

// fetchTo downloads the assignment's checkpoint into a file.
func (w *Worker) fetchTo(ctx context.Context, a *attempt, path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	named := a.assignment.GetCheckpoint()
	err = w.artifacts.downloadTo(ctx, file, named.GetSha256(), named.GetSize(), func() { a.steps.Add(1) })
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}
