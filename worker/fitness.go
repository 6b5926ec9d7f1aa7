package worker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
	"trellis/trainer/dataset"
)

// ErrUnfit means that this worker can't train, for a reason on this machine. Other workers may be able to.
var ErrUnfit = errors.New("this worker can't train")

// arithmetic is trainer.SelfTest, once for all workers of the process.
var arithmetic = sync.OnceValue(trainer.SelfTest)

// check returns an error if this worker can't store data sets, or does not compute the same results as all workers.
// Otherwise the runs that it takes would fail, one after another.
func (w *Worker) check() error {
	if err := w.cache.Check(); err != nil {
		return fmt.Errorf("%w: its cache can't be used: %w", ErrUnfit, err)
	}
	if err := arithmetic(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnfit, err)
	}
	return nil
}

// classOf returns the class of a failure to train a run.
func classOf(err error) trellisv1.FailureClass {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.Is(err, ErrUnfit), errors.As(err, &path), errors.As(err, &link):
		// The only files that a run needs are in the cache.
		return trellisv1.FailureClass_FAILURE_CLASS_WORKER
	case errors.Is(err, trainer.ErrCheckpointCorrupt):
		// It begins with these weights, whose digest is right. One that it can't resume from is passed over.
		return trellisv1.FailureClass_FAILURE_CLASS_INPUT
	case errors.Is(err, trainer.ErrInvalidConfig), errors.Is(err, dataset.ErrSplit), errors.Is(err, dataset.ErrTooLarge):
		return trellisv1.FailureClass_FAILURE_CLASS_INPUT
	}
	return trellisv1.FailureClass_FAILURE_CLASS_TRAINER
}
