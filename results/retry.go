package results

import (
	"fmt"

	"trellis/results/lifecycle"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// RetryStudy takes up the FAILED runs of a study that is RUNNING, PAUSED or COMPLETED again and, if asked, the PRUNED
// ones: they are PENDING, and go on from what is recorded. A COMPLETED study is RUNNING again.
//
// Failures are forgotten, so that every budget starts anew: whoever asks for a retry says that the cause has been
// looked for and done away with, and a run that had a single attempt left would fail over the first thing that goes
// wrong. A run that was pruned is not judged again. A study that has been settled is to be settled again: what comes of
// the runs may be a near-tie.
//
// It returns how many runs were taken up. It fails with ErrNotFound, and with ErrIllegalMove if the study is CANCELED
// or has no such runs.
func (s *Store) RetryStudy(index uint64, now *timestamppb.Timestamp, name string, pruned bool) (runs uint64, err error) {
	c := s.begin(index, now)
	defer c.abort()
	if runs, err = c.retryStudy(name, pruned); err != nil {
		return 0, refusal("retry", name, err)
	}
	return runs, c.commit()
}

func (c *change) retryStudy(name string, pruned bool) (runs uint64, err error) {
	study, err := c.studies.get(textKey(name))
	if err != nil {
		return 0, err
	}
	if err := c.reopen(study); err != nil {
		return 0, err
	}
	catalog, err := c.sections.catalog(name)
	if err != nil {
		return 0, err
	}
	for place := range len(catalog.places) {
		run, err := c.sections.at(catalog, uint32(place))
		if err != nil {
			return 0, err
		}
		state := run.run().State
		if state == lifecycle.RunFailed || pruned && state == lifecycle.RunPruned {
			run.retry()
			runs++
		}
	}
	if runs > 0 {
		c.studies.edit(study).Settled = false
		return runs, nil
	}
	what := "have failed"
	if pruned {
		what = "have failed or were pruned"
	}
	return 0, fmt.Errorf("none of its runs %s: %w", what, ErrIllegalMove)
}

// retry takes up a run that has ended without an answer to all of its trials.
func (h handle) retry() {
	run := h.edit().Run
	run.Spared = run.Spared || run.State == lifecycle.RunPruned
	run.State = lifecycle.Run.Must(run.State, lifecycle.Retry)
	run.Failures, run.Error = nil, ""
}
