package worker

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

// pretrained names a checkpoint whose best weights runs start from.
type pretrained struct {
	sha256 string
	// size is in bytes.
	size uint64
}

func pretrainedOf(run *trellisv1.RunConfig) pretrained {
	return pretrained{run.GetPretrained(), run.GetPretrainedSize()}
}

func (p pretrained) LogValue() slog.Value { return slog.StringValue(p.sha256) }

// fetchPretrained downloads a checkpoint that runs start from.
func (s artifacts) fetchPretrained(ctx context.Context, named pretrained, moved func()) (*trainer.Checkpoint, error) {
	content, err := s.download(ctx, named.sha256, named.size, moved)
	if err != nil {
		return nil, err
	}
	checkpoint := new(trainer.Checkpoint)
	if err := checkpoint.UnmarshalBinary(content); err != nil {
		return nil, fmt.Errorf("decode it: %w", err)
	}
	return checkpoint, nil
}

// getPretrained returns the checkpoint that a run starts from, or nil if it starts from random weights. If the
// checkpoint is not available, the run must not be trained: unlike its own checkpoints, this one influences its
// results. If the coordinator can't provide it, the error is errNotServed.
func (w *Worker) getPretrained(ctx context.Context, run *trellisv1.RunConfig, steps *atomic.Uint64) (*trainer.Checkpoint, error) {
	if run.GetPretrained() == "" {
		return nil, nil
	}
	checkpoint, err := w.pretrained.get(ctx, pretrainedOf(run), steps)
	switch status.Code(err) {
	case codes.NotFound, codes.DataLoss, codes.FailedPrecondition, codes.Unavailable, codes.ResourceExhausted,
		codes.DeadlineExceeded, codes.Unauthenticated:
		err = fmt.Errorf("%w: %w", errNotServed, err)
	}
	if err != nil {
		return nil, fmt.Errorf("get the pretrained weights, checkpoint %s: %w", run.GetPretrained(), err)
	}
	return checkpoint, nil
}
