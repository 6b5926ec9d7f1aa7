package worker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
	"trellis/trainer/dataset"
)

// ErrUnfit means that this worker can't train: what is wrong is here, and other workers may well do what it can't.
var ErrUnfit = errors.New("this worker can't train")

// arithmetic is trainer.SelfTest, once for all workers of the process.
var arithmetic = sync.OnceValue(trainer.SelfTest)

// check says why this worker is not fit to train, nil if it is: whether it can keep data sets, and computes as all workers
// do. Runs that it took otherwise would fail, one after another.
func (w *Worker) check() error {
	if err := w.cache.Check(); err != nil {
		return fmt.Errorf("%w: its cache can't be used: %w", ErrUnfit, err)
	}
	if err := arithmetic(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnfit, err)
	}
	return nil
}

// knows says whether this binary has a model. One of another version may have others.
func knows(name string) bool {
	return slices.ContainsFunc(trainer.Models(), func(m trainer.Model) bool { return m.Name == name })
}

// classOf says whose fault it is that a run could not be trained.
func classOf(err error) trellisv1.FailureClass {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.Is(err, ErrUnfit), errors.As(err, &path), errors.As(err, &link):
		// The only files that a run needs are those of the cache.
		return trellisv1.FailureClass_FAILURE_CLASS_WORKER
	case errors.Is(err, trainer.ErrInvalidConfig), errors.Is(err, dataset.ErrSplit), errors.Is(err, dataset.ErrTooLarge):
		return trellisv1.FailureClass_FAILURE_CLASS_INPUT
	}
	return trellisv1.FailureClass_FAILURE_CLASS_TRAINER
}
