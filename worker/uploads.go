package worker

import (
	"context"
	"errors"
	"math"
	"os"
	"slices"
	"sync/atomic"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
	"trellis/worker/spans"
)

const (
	// maxUploads is how many checkpoints of an attempt may wait for their upload. If there are more that can't be
	// skipped, training waits.
	maxUploads = 8
	// lastUploadTimeout is how long an attempt's outcome waits for its checkpoints while there is a session, and again
	// that long whenever minUploadSpeed bytes a second have been sent meanwhile: a checkpoint may have many GiB.
	// drainUploadTimeout is how long it waits when the worker drains, if Config.DrainTimeout doesn't say.
	lastUploadTimeout  = retryTime + stallTimeout
	minUploadSpeed     = 256 << 10
	drainUploadTimeout = 10 * time.Second
)

// uploads uploads the checkpoints of one attempt. A program's are chosen by programCheckpoints. Of a model's, those at
// milestones and at the run's end are always uploaded, because of their weights. In between, one is uploaded when enough
// time has passed since the last one and no upload is in progress. The zero value takes no checkpoints: see open.
//
// Training never waits for an upload. It encodes a checkpoint into reused memory, and a goroutine, which is started
// with the first checkpoint, sends it. A checkpoint that can't be sent is given up after a while, because the run is
// more important. The coordinator is told if it would have kept the weights.
type uploads struct {
	worker  *Worker
	attempt *attempt

	// config is the configuration of a model's run.
	config *trainer.Config
	// last is when the last checkpoint was taken, or when the attempt began. epoch is its epoch.
	last  time.Time
	epoch int

	// queue is nil before the first checkpoint. free has the memory of checkpoints that have been sent.
	queue chan encoded
	free  chan []byte
	// pending counts the checkpoints that wait or are being sent.
	pending atomic.Int32
	// pieces counts the pieces of artifacts that have been sent, each of maxPiece bytes at most.
	pieces atomic.Int64
	// longest is how long an upload has taken at most, a time.Duration.
	longest atomic.Int64
	// done is closed when the goroutine has ended. cancel makes it end.
	done   chan struct{}
	cancel context.CancelFunc
}

// encoded is a checkpoint that waits for its upload.
type encoded struct {
	// checkpoint is what the coordinator will be told of it. Digest and size are not known yet of a model's.
	checkpoint *trellisv1.Checkpoint
	// kept says that the coordinator keeps it for its weights.
	kept bool
	// content is a model's checkpoint, and file the path of a program's, which belongs to the upload.
	content []byte
	file    string
}

// open sets the worker and the attempt that the uploads belong to.
func (u *uploads) open(w *Worker, a *attempt) { u.worker, u.attempt = w, a }

// begin says that training starts, or continues.
func (u *uploads) begin(config *trainer.Config, now time.Time) {
	u.config = config
	if u.last.IsZero() {
		u.last = now
	}
}

// offer takes the checkpoint if it is due. If there is no room for one that can't be skipped, it waits. The error is
// that of ctx.
func (u *uploads) offer(ctx context.Context, checkpoint *trainer.Checkpoint) error {
	interval := time.Duration(u.worker.checkpointInterval.Load())
	if interval == 0 {
		return nil
	}
	summary := checkpoint.Summary()
	if !u.isKept(summary) && (u.pending.Load() > 0 || time.Since(u.last) < interval) {
		return nil
	}
	return u.take(ctx, checkpoint, summary)
}

// report tells Run the result of an upload: the checkpoint was saved, or is missing for a reason.
func (u *uploads) report(of encoded, missing string) {
	checkpoint := of.checkpoint
	if missing != "" {
		if !of.kept {
			return
		}
		checkpoint.Sha256, checkpoint.Size = "", 0
	}
	assignment := u.attempt.assignment
	u.worker.events.put(event{attempt: u.attempt, checkpoint: &trellisv1.CheckpointReport{
		Study: assignment.GetStudy(), Run: assignment.GetRun(), Attempt: assignment.GetAttempt(), Checkpoint: checkpoint,
		Missing: sendable(missing),
	}})
}

// isKept says whether the coordinator keeps a checkpoint for its weights: at a milestone, and at the run's end.
func (u *uploads) isKept(s trainer.Summary) bool {
	return s.Weights > 0 && (s.Stopped || s.Epoch == u.config.MaxEpochs || slices.Contains(u.config.Milestones, s.Epoch))
}

// offerLast takes the checkpoint of training that has been interrupted, or nil if there is none. It skips a checkpoint
// that has already been taken, is not worth the time, or would have to wait for room.
func (u *uploads) offerLast(checkpoint *trainer.Checkpoint) {
	if checkpoint == nil || u.config == nil || u.worker.checkpointInterval.Load() == 0 ||
		u.queue != nil && len(u.queue) == cap(u.queue) {
		return
	}
	if summary := checkpoint.Summary(); summary.Weights > 0 && summary.Epoch > u.epoch {
		// It fails if the attempt has ended: then nobody needs its checkpoint.
		_ = u.take(u.attempt.ctx, checkpoint, summary)
	}
}

func (u *uploads) take(ctx context.Context, checkpoint *trainer.Checkpoint, summary trainer.Summary) error {
	var buffer []byte
	select {
	case buffer = <-u.free:
	default:
	}
	content, err := checkpoint.AppendBinary(buffer[:0])
	if err != nil {
		return err
	}
	return u.enqueue(ctx, encoded{
		checkpoint: &trellisv1.Checkpoint{Epoch: uint32(summary.Epoch), BestEpoch: uint32(summary.BestEpoch)},
		kept:       u.isKept(summary), content: content,
	})
}

// enqueue waits for room.
func (u *uploads) enqueue(ctx context.Context, next encoded) error {
	if u.queue == nil {
		u.start()
	}
	u.pending.Add(1)
	select {
	case u.queue <- next:
	case <-ctx.Done():
		u.pending.Add(-1)
		next.remove()
		return ctx.Err()
	}
	u.last, u.epoch = time.Now(), int(next.checkpoint.GetEpoch())
	return nil
}

// remove removes the file of a program's checkpoint.
func (e encoded) remove() {
	if e.file != "" {
		_ = os.Remove(e.file) // The folder goes with the attempt.
	}
}

func (u *uploads) start() {
	ctx, cancel := context.WithCancel(u.attempt.ctx)
	u.queue, u.free = make(chan encoded, maxUploads), make(chan []byte, maxUploads+1)
	u.done, u.cancel = make(chan struct{}), cancel
	u.worker.goroutines.Go(func() {
		defer close(u.done)
		defer cancel()
		for {
			select {
			case next, ok := <-u.queue:
				if !ok {
					return
				}
				u.send(ctx, next)
				next.remove()
				if next.file == "" {
					select {
					case u.free <- next.content:
					default:
					}
				}
				u.pending.Add(-1)
			case <-ctx.Done():
				return
			}
		}
	})
}

// send uploads a checkpoint and tells Run.
func (u *uploads) send(ctx context.Context, next encoded) {
	assignment, steps := u.attempt.assignment, &u.attempt.steps
	log := u.attempt.span.Logger(u.worker.log).With("study", assignment.GetStudy(), "run", assignment.GetRun(),
		"attempt", assignment.GetAttempt(), "epoch", next.checkpoint.GetEpoch())
	ctx, span := u.attempt.span.Upload(ctx, next.checkpoint.GetEpoch())
	began, connected, try := time.Now(), false, ctx
	err := retry(ctx, func() (err error) {
		// How long it takes is that of the last try, unless that has waited for a connection first.
		began, connected = time.Now(), u.worker.connected.Load()
		steps.Add(1)
		moved := func() {
			steps.Add(1)
			u.pieces.Add(1)
		}
		if next.file != "" {
			return u.worker.artifacts.uploadFile(try, next.file, next.checkpoint.GetSha256(), next.checkpoint.GetSize(), moved)
		}
		next.checkpoint.Size = uint64(len(next.content))
		next.checkpoint.Sha256, err = u.worker.artifacts.upload(try, next.content, moved)
		return err
	}, func(err error) {
		try = spans.Untraced(ctx) // An outage may last for long: only the first try has a span.
		log.Warn("could not upload a checkpoint; will retry", "error", reason(err))
	})
	spans.End(ctx, span, err)
	switch {
	case err == nil:
		if connected {
			u.longest.Store(max(u.longest.Load(), int64(time.Since(began))))
		}
		u.worker.metrics.checkpoints.WithLabelValues("uploaded").Inc()
		u.report(next, "")
	case ctx.Err() == nil:
		u.worker.metrics.checkpoints.WithLabelValues("failure").Inc()
		log.Warn("gave up uploading a checkpoint", "error", reason(err))
		u.report(next, reason(err))
	case u.attempt.ctx.Err() == nil:
		u.report(next, errLate.Error()) // finish counts and logs it.
	}
}

// errLate is the reason of a missing checkpoint whose upload took too long.
var errLate = errors.New("the upload took too long")

// finish waits until all checkpoints have been sent or given up. It waits for at most lastUploadTimeout while they are
// slower than minUploadSpeed, and for drainUploadTimeout once the worker drains. Time without a session does not count:
// without one, the outcome could not be sent either. No checkpoints can be taken afterwards.
func (u *uploads) finish() {
	if u.queue == nil {
		return
	}
	close(u.queue)
	timeout, least, drain := lastUploadTimeout, int64(lastUploadTimeout.Seconds()*minUploadSpeed), u.worker.drain
	for {
		connected, sent := u.worker.connected.Load(), u.pieces.Load()
		timer := time.NewTimer(timeout)
		select {
		case <-u.done:
			timer.Stop()
			return
		case <-drain:
			timer.Stop()
			timeout, least, drain = max(u.worker.uploadShare(), time.Second), math.MaxInt64, nil
			continue
		case <-timer.C:
		}
		if connected && u.worker.connected.Load() && (u.pieces.Load()-sent)*maxPiece < least {
			break
		}
	}
	left := u.pending.Load()
	u.cancel()
	<-u.done
	for next := range u.queue {
		next.remove()
		u.report(next, errLate.Error())
	}
	u.worker.metrics.checkpoints.WithLabelValues("failure").Add(float64(left))
	u.worker.log.Warn("gave up uploading checkpoints", "study", u.attempt.assignment.GetStudy(),
		"run", u.attempt.assignment.GetRun(), "attempt", u.attempt.number(), "checkpoints", left, "after", timeout)
}
